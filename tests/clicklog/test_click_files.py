from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clicklog.click_files import read_click_file
from clicklog.clicks import Clicks
from clicklog.filters import filter_clicks
from clicklog.items import ItemIndex
from clicklog.sessions import cut_by_silence, cut_file_by_silence, in_session_order, sessions_of, starts_anew
from schemas.errors import ClicksError, TrainingError

TABLE = {
    "session_id": [1, 1, 2],
    "item_id": [10, 11, 10],
    "timestamp": [1000, 2000, 1500],
    "split": ["train", "train", "test"],
}


def parquet(directory: Path, **columns: object) -> Path:
    path = directory / "clicks.parquet"
    pl.DataFrame({**TABLE, **columns}, strict=False).write_parquet(path)
    return path


def csv(directory: Path, text: str) -> Path:
    path = directory / "clicks.csv"
    path.write_text(text)
    return path


def test_parquet_and_csv_read_alike(tmp_path: Path) -> None:
    from_parquet = read_click_file(parquet(tmp_path)).frame
    as_csv = tmp_path / "clicks.csv"
    pl.DataFrame(TABLE).write_csv(as_csv)
    assert from_parquet.rows() == [(1, 10, 1000), (1, 11, 2000), (2, 10, 1500)]
    assert read_click_file(as_csv).frame.equals(from_parquet)


def test_splits_select_rows(tmp_path: Path) -> None:
    path = parquet(tmp_path)
    assert read_click_file(path, ["test"]).frame["session_id"].to_list() == [2]
    assert len(read_click_file(path, ["train", "test"]).frame) == 3


def test_csv_ids_lose_nothing(tmp_path: Path) -> None:
    path = csv(tmp_path, "session_id,item_id,timestamp\n1,007,1\n1,7,2\n99999999999999999999,x,3\n")
    frame = read_click_file(path).frame
    assert frame["item_id"].to_list() == ["007", "7", "x"]
    assert frame["session_id"].to_list() == ["1", "1", "99999999999999999999"]


def test_datetimes_become_milliseconds(tmp_path: Path) -> None:
    path = parquet(tmp_path, timestamp=[datetime(1970, 1, 1, 0, 0, second, tzinfo=UTC) for second in (1, 2, 3)])
    assert read_click_file(path).frame["timestamp"].to_list() == [1000, 2000, 3000]


@pytest.mark.parametrize(
    ("columns", "splits", "message"),
    [
        ({}, ["tset"], r"has no split 'tset': it has test, train"),
        ({"item_id": [1, None, 3]}, [], r"item_id is null or empty in 1 of 3 clicks \(the first is click 2\)"),
        ({"session_id": ["a", "", "b"]}, [], r"session_id is null or empty in 1 of 3"),
        ({"item_id": [1.5, 2, 3]}, [], r"item_id is Float64: ids are whole numbers or texts"),
        ({"item_id": pl.Series([1, 2, 2**64 - 1], dtype=pl.UInt64)}, [], r"1 values of item_id do not fit in 64 bits"),
        ({"timestamp": [1, None, 3]}, [], r"timestamp is null in 1 of 3 clicks: give every click its time, or none"),
        ({"timestamp": [1.0, 2.0, 3.0]}, [], r"timestamp is Float64: write whole milliseconds"),
        ({"timestamp": [1, 2, 10**18]}, [], r"timestamp 1000000000000000000 lies outside 1970 to 9999"),
    ],
)
def test_bad_values_are_named(tmp_path: Path, columns: dict[str, object], splits: list[str], message: str) -> None:
    with pytest.raises(ClicksError, match=message):
        read_click_file(parquet(tmp_path, **columns), splits)


def test_bad_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ClicksError, match=r"nope\.parquet does not exist"):
        read_click_file(tmp_path / "nope.parquet")
    (tmp_path / "clicks.txt").touch()
    with pytest.raises(ClicksError, match=r"neither \.parquet nor \.csv"):
        read_click_file(tmp_path / "clicks.txt")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(ClicksError, match=r"broken\.parquet cannot be read"):
        read_click_file(tmp_path / "broken.parquet")
    (tmp_path / "directory.parquet").mkdir()
    with pytest.raises(ClicksError, match=r"directory\.parquet"):
        read_click_file(tmp_path / "directory.parquet")
    with pytest.raises(ClicksError, match=r"cannot be read"):
        read_click_file(csv(tmp_path, ""))
    with pytest.raises(ClicksError, match=r"holds no clicks"):
        read_click_file(csv(tmp_path, "session_id,item_id,timestamp\n"))
    with pytest.raises(ClicksError, match=r"has no column item_id, timestamp \(it has session_id, when\)"):
        read_click_file(csv(tmp_path, "session_id,when\n1,2\n"))
    with pytest.raises(ClicksError, match=r"has no column split: leave out --split"):
        read_click_file(csv(tmp_path, "session_id,item_id,timestamp\n1,2,3\n"), ["train"])
    with pytest.raises(ClicksError, match=r"timestamp '2014-04-01' is not in milliseconds"):
        read_click_file(csv(tmp_path, "session_id,item_id,timestamp\n1,2,2014-04-01\n"))


def test_filters_are_applied_until_nothing_changes() -> None:
    # Item c is rare. Without it session 3 has a single click and is dropped, and then item b lacks support, too.
    frame = pl.DataFrame({"session_id": [1, 1, 2, 2, 3, 3, 4, 4], "item_id": list("aaaabcab")})
    kept = filter_clicks(frame, min_support=2, min_length=2)
    assert kept.rows() == [(1, "a"), (1, "a"), (2, "a"), (2, "a")]
    with pytest.raises(TrainingError, match=r"none of 8 clicks is left with item support ≥ 9"):
        filter_clicks(frame, min_support=9)


def test_items_are_indexed_by_falling_support() -> None:
    index = ItemIndex.of(pl.DataFrame({"item_id": [5, 7, 7, 3]}))
    assert index.ids == [7, 3, 5]
    assert index.support.tolist() == [2, 1, 1]
    assert index.rows(pl.Series([5, 8, 7])).tolist() == [2, -1, 0]
    assert index.rows(pl.Series(["5", "05", "7"])).tolist() == [2, -1, 0]
    mixed = ItemIndex([7, "x"], index.support[:2])
    assert mixed.rows(pl.Series([7])).tolist() == [0]


def test_sessions_are_ordered_by_their_first_click_and_clicks_by_time() -> None:
    frame = pl.DataFrame({"session_id": [2, 1, 2, 1, 2], "item_id": [1, 2, 3, 4, 5], "timestamp": [30, 20, 25, 40, 30]})
    assert in_session_order(frame)["item_id"].to_list() == [2, 4, 3, 1, 5]
    untimed = frame.with_columns(timestamp=pl.lit(None, pl.Int64))
    assert in_session_order(untimed)["item_id"].to_list() == [1, 3, 5, 2, 4]


def test_an_unknown_item_is_dropped_and_its_session_goes_on() -> None:
    index = ItemIndex([1, 2], ItemIndex.of(pl.DataFrame({"item_id": [1, 2]})).support)
    frame = pl.DataFrame(
        {"session_id": [1, 1, 1, 2, 2], "item_id": [1, 9, 2, 1, 9], "timestamp": [None] * 5},
        schema_overrides={"timestamp": pl.Int64},
    )
    sessions = sessions_of(frame, index)
    assert sessions.items.tolist() == [0, 1]
    assert sessions.offsets.tolist() == [0, 2]
    assert sessions.pairs == 1


def test_a_silence_cuts_a_session_as_the_worker_does() -> None:
    sessions, times = [8, 7, 8, 8, 7, 8, 8], [0, 5, 100, 201, 5, 150, 251]
    frame = pl.DataFrame({"session_id": sessions, "item_id": range(7), "timestamp": times})
    # 201 comes 101 ms after 100. 150 is late, and the next silence counts from it, as in the worker's state.
    cut = cut_by_silence(frame, gap_ms=100)
    assert cut["session_id"].to_list() == [1, 1, 2, 2, 3, 3, 4]
    assert cut["item_id"].to_list() == [1, 4, 0, 2, 3, 5, 6]
    assert cut.sort("item_id").drop("session_id").equals(frame.drop("session_id"))
    assert cut_by_silence(frame, gap_ms=1000)["session_id"].n_unique() == 2
    # A file's clicks are sorted by time first: 0 100 150 201 251.
    assert cut_file_by_silence(Clicks(frame, "f"), 100).frame["session_id"].n_unique() == 2
    assert cut_by_silence(frame.clear(), gap_ms=100).is_empty()


@given(
    clicks=st.lists(st.tuples(st.sampled_from([3, 1, 2]), st.integers(0, 60)), max_size=40),
    gap=st.integers(1, 30),
    texts=st.booleans(),
)
def test_sessions_begin_where_the_rule_of_the_worker_says(clicks: list[tuple[int, int]], gap: int, texts: bool) -> None:
    expected: dict[int, list[list[int]]] = {}
    before: dict[int, int] = {}
    for row, (session, moment) in enumerate(clicks):
        if session not in before or starts_anew(before[session], moment, gap):
            expected.setdefault(session, []).append([])
        expected[session][-1].append(row)
        before[session] = moment
    frame = pl.DataFrame(clicks, schema={"session_id": pl.Int64, "timestamp": pl.Int64}, orient="row")
    frame = frame.with_row_index("item_id").cast({"session_id": pl.String if texts else pl.Int64})
    cut = cut_by_silence(frame, gap).group_by("session_id", maintain_order=True).agg("item_id")["item_id"].to_list()
    assert cut == [rows for _, parts in sorted(expected.items()) for rows in parts]


def test_clicks_without_times_cannot_be_cut(tmp_path: Path) -> None:
    clicks = read_click_file(parquet(tmp_path, timestamp=[None] * 3))
    with pytest.raises(ClicksError, match=r"has no times to cut sessions by: leave out --session-gap"):
        cut_file_by_silence(clicks, 1000)
