"""Files as people have them: read rightly where the meaning is certain, else refused with the line and the way out."""

import gzip
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from clicklog.click_files import read_click_file
from clicklog.clicks import Clicks
from clicklog.reading.form import FileForm
from schemas.conditions import Condition
from schemas.errors import ClicksError

START = 1_700_000_000_000
ROWS = 200
HEADER = "session_id,item_id,timestamp\n"
SKIP = FileForm(skip_invalid=True)


def shop(titles: dict[int, str], *, quoted: str = "", more: str = "") -> str:
    """200 clicks with a title each, `lamp` where none is given."""
    fields = [["session_id", "title", "item_id", "timestamp"]]
    fields += [[str(n // 4), titles.get(n, "lamp"), str(100 + n % 10), str(START + n * 1000)] for n in range(ROWS)]
    return "".join(",".join(f"{quoted}{field}{quoted}" for field in row) + "\n" for row in fields) + more


EXPECTED = [(n // 4, 100 + n % 10, START + n * 1000) for n in range(ROWS)]


def read(directory: Path, text: str | bytes, form: FileForm | None = None, name: str = "clicks.csv") -> Any:
    path = directory / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_click_file(path, (), form or FileForm())


def clicks_or_refusal(path: Path, form: FileForm) -> Clicks | str:
    try:
        return read_click_file(path, (), form)
    except ClicksError as error:
        return str(error)


def read_parquet(directory: Path, form: FileForm | None = None, **columns: Any) -> Any:
    path = directory / "clicks.parquet"
    table = {"session_id": [1, 1], "item_id": [5, 6], "timestamp": [START, START + 1]}
    pl.DataFrame({**table, **columns}, strict=False).write_parquet(path)
    return read_click_file(path, (), form or FileForm())


@pytest.mark.parametrize(
    "text",
    [
        shop({9: '"Heroes (single)', 150: 'the 7" single'}),
        shop({9: 'monitor 32"'}),
        shop({9: '"Heroes', 150: 'single"'}),  # as if 141 rows were in one field
        shop({9: '"Heroes', 10: 'single"'}),
        shop({9: '"Heroes, single"', 150: '"the 7"" single"'}),
        shop({9: '"Heroes\n single"'}),
        shop({}, quoted='"'),
        shop({9: "7'' lamp"}, quoted='"'),
        shop({9: '7" lamp'}, quoted='"'),
        shop({9: 'monitor 32"'}).replace("\n", ",\n"),  # a last column without a value
        shop({9: 'monitor 32"'}, more="\n\n"),
        shop({}, more="\n\n"),
        shop({}, more=",,,\n,,,\n"),
        "\n" + shop({}),
        shop({}).replace("\n", "\r\n"),
        shop({}).replace(",", ";"),
        shop({}).replace(",", "\t"),
        shop({}).replace(",", " , "),
    ],
)
def test_every_row_is_a_click(tmp_path: Path, text: str) -> None:
    clicks = read(tmp_path, text)
    assert clicks.frame.rows() == EXPECTED
    assert clicks.notes == ()


@pytest.mark.parametrize(
    ("text", "form", "message"),
    [
        (
            shop({9: '"Heroes, single"', 150: 'the 7" single'}),
            FileForm(),
            r"clicks.csv, lines 152 to 201: the quote signs have no sure meaning: '37,the 7\" single.*--quote none",
        ),
        (shop({9: '"Heroes\n1,lamp,101,1700000000000\nx"'}), FileForm(), r"lines 11 to 13: .*--quote '\"' if they"),
        (shop({9: '"Heroes" x', 11: "red, small"}), FileForm(), r"line 11: the quote signs have no sure meaning"),
        (shop({9: '"Heroes (single)', 150: 'the 7" single'}), FileForm(quote='"'), "the quote signs have no sure"),
        (shop({9: "red, small"}), FileForm(), r"line 11: '2,red, small,109,1700000009000' has more fields than the 4"),
        (shop({9: '"Heroes, single"'}), FileForm(quote=""), r"line 11: .* has more fields than the 4"),
        (shop({}, more=",only a title,,\n"), FileForm(), r"1 of 201 clicks \(the first is line 202\)"),
        (shop({9: '"Heroes\n single"'}, more="1,x,,5\n"), FileForm(), r"item_id is null .*\(the first is line 203\)"),
        ("session_id,item_id,item_id,timestamp\n1,2,3,4\n", FileForm(), "has two columns item_id"),
    ],
)
def test_what_has_no_sure_meaning_is_refused(tmp_path: Path, text: str, form: FileForm, message: str) -> None:
    with pytest.raises(ClicksError, match=message):
        read(tmp_path, text, form)


def test_quote_says_what_the_file_does_not(tmp_path: Path) -> None:
    rows = '"Heroes\n1,lamp,101,1700000000000\nx"'
    assert read(tmp_path, shop({9: rows}), FileForm(quote='"')).frame.rows() == EXPECTED
    text = 'session_id,item_id,timestamp\n1,"5",1\n'
    assert read(tmp_path, text, FileForm(quote="")).frame["item_id"].to_list() == ['"5"']
    assert read(tmp_path, text.replace('"', "'"), FileForm(quote="'")).frame["item_id"].to_list() == [5]


@given(st.lists(st.text(alphabet='ab,"\n ', max_size=6), min_size=1, max_size=12), st.booleans())
@example([",,\n,"], True)
def test_a_written_table_is_read_back_or_refused(
    tmp_path_factory: pytest.TempPathFactory, titles: list[str], proper: bool
) -> None:
    items = range(100, 100 + len(titles))
    if proper:  # as RFC 4180 says
        written = ['"' + title.replace('"', '""') + '"' for title in titles]
    else:
        written = [title.replace(",", "").replace("\n", "") for title in titles]
    lines = [f"1,{title},{item},{START}" for title, item in zip(written, items, strict=True)]
    path = tmp_path_factory.mktemp("any") / "clicks.csv"
    path.write_text("session_id,title,item_id,timestamp\n" + "\n".join(lines) + "\n")
    clicks = clicks_or_refusal(path, FileForm())
    if isinstance(clicks, str):
        assert "--quote" in clicks
    else:
        assert clicks.frame["item_id"].to_list() == list(items)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig"])
def test_encodings_that_the_first_bytes_show(tmp_path: Path, encoding: str) -> None:
    assert read(tmp_path, shop({9: "café"}).encode(encoding)).frame.rows() == EXPECTED


def test_other_encodings_are_asked_for(tmp_path: Path) -> None:
    data = "session_id,item_id,timestamp\n1,café,1\n".encode("windows-1252")
    with pytest.raises(ClicksError, match=r"line 2 is not UTF-8 .*'1,café,1'.*--encoding windows-1252"):
        read(tmp_path, data)
    assert read(tmp_path, data, FileForm(encoding="windows-1252")).frame["item_id"].to_list() == ["café"]
    packed = gzip.compress(data)
    found = read(tmp_path, packed, FileForm(encoding="windows-1252"), "clicks.csv.gz")
    assert found.frame["item_id"].to_list() == ["café"]
    with pytest.raises(ClicksError, match=r"is not in ascii: bytes e9 near line 2"):
        read(tmp_path, data, FileForm(encoding="ascii"))


def test_a_name_is_no_pattern(tmp_path: Path) -> None:
    read(tmp_path, shop({}), name="clicks1.csv")
    assert read(tmp_path, HEADER + f"1,2,{START}\n", name="clicks[1].csv").frame.height == 1


@pytest.mark.parametrize("name", ["clicks.csv.gz", "clicks.csv.zst"])
def test_compressed_files(tmp_path: Path, name: str) -> None:
    text = shop({9: '"Heroes (single)', 150: 'the 7" single'})
    if name.endswith(".gz"):
        assert read(tmp_path, gzip.compress(text.encode()), name=name).frame.rows() == EXPECTED
        with pytest.raises(ClicksError, match=r"clicks\.csv\.gz cannot be read"):
            read(tmp_path, gzip.compress(text.encode())[:300], name=name)
    else:
        lines = pl.DataFrame({"line": text.splitlines()})
        lines.lazy().sink_csv(tmp_path / name, include_header=False, quote_style="never", compression="zstd")
        assert read_click_file(tmp_path / name).frame.rows() == EXPECTED


@pytest.mark.parametrize("mark", ["", "NULL", "null", r"\N", "NaN", "nan", "None", "NA", "<NA>", "#N/A", " "])
@pytest.mark.parametrize("kind", [str, "sku-{}".format])
def test_a_mark_of_a_missing_value_is_no_id(tmp_path: Path, mark: str, kind: Any) -> None:
    rows = [f"{n // 4},{mark if n % 4 == 3 else kind(100 + n % 10)},{START + n}" for n in range(ROWS)]
    text = HEADER + "\n".join(rows) + "\n"
    with pytest.raises(
        ClicksError, match=r"item_id is null or empty in 50 of 200 clicks \(the first is line 5.*--skip"
    ):
        read(tmp_path, text)
    clicks = read(tmp_path, text, SKIP)
    expected = [kind(100 + n % 10) for n in range(ROWS) if n % 4 != 3]
    assert clicks.frame["item_id"].cast(str).to_list() == expected
    assert clicks.frame["item_id"].dtype == (pl.Int64 if kind is str else pl.String)
    assert len(clicks.notes) == 1
    assert "50 of 200 rows left out: item_id is null or empty, first in line 5" in clicks.notes[0]


@pytest.mark.parametrize(
    ("written", "ids"),
    [
        (["100.0", "7.0", "-3.0"], [100, 7, -3]),
        (["100.00", "7", "8.0"], [100, 7, 8]),
        (["1.2345678E7", "9007199254740991.0"], [12345678, 2**53 - 1]),
        (["1.5", "2.0"], ["1.5", "2.0"]),
        (["100.0", "x"], ["100.0", "x"]),
        (["007", "7"], ["007", "7"]),
        (["007.0", "7.0"], ["007.0", "7.0"]),
        ([" 7", "8 "], [7, 8]),
        ([" 7", "x "], ["7", "x"]),
    ],
)
def test_ids_written_as_floats_are_whole_numbers(tmp_path: Path, written: list[str], ids: list[int | str]) -> None:
    text = HEADER + "".join(f"{written[0]},{item},{START}\n" for item in written)
    assert read(tmp_path, text).frame["item_id"].to_list() == ids


def test_digits_that_a_float_does_not_hold_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ClicksError, match=r"item_id 1\.2345678901234568e\+17 is written as a floating-point number"):
        read(tmp_path, HEADER + f"1,1.2345678901234568e+17,{START}\n")


@pytest.mark.parametrize(
    ("written", "unit"),
    [
        ("1396873412", "seconds"),
        ("1396873412.0", "seconds"),
        ("1396873412000000", "microseconds"),
        ("1396873412000000000", "nanoseconds"),
        ("20140407122332", "the form YYYYMMDDhhmmss"),
    ],
)
def test_a_unit_that_the_numbers_show_is_read_and_told(tmp_path: Path, written: str, unit: str) -> None:
    clicks = read(tmp_path, HEADER + f"1,2,{written}\n1,3,{written}\n")
    assert clicks.frame["timestamp"].to_list() == [1396873412000] * 2
    assert clicks.notes == (f"{tmp_path / 'clicks.csv'}: timestamp is in {unit}, and is read so",)


def test_fractions_of_seconds(tmp_path: Path) -> None:
    clicks = read(tmp_path, HEADER + "1,2,1396873412.277\n1,3,1396873413\n")
    assert clicks.frame["timestamp"].to_list() == [1396873412277, 1396873413000]


@pytest.mark.parametrize("times", [[1, 2], [0, 86_400_000], [5, 2_000_000_000], [1000, 10**11 - 1]])
def test_times_that_only_count_from_somewhere_stay_milliseconds(tmp_path: Path, times: list[int]) -> None:
    clicks = read(tmp_path, HEADER + "".join(f"1,2,{time}\n" for time in times))
    assert clicks.frame["timestamp"].to_list() == times
    assert clicks.notes == ()


@pytest.mark.parametrize("wrong", ["1396873412", "0", "soon", "-1", "1396873412.5", "2014-04-07"])
def test_a_time_unlike_the_others_is_refused_or_left_out(tmp_path: Path, wrong: str) -> None:
    text = HEADER + f"1,2,{START}\n1,3,{wrong}\n1,4,{START + 1}\n"
    with pytest.raises(ClicksError, match=rf"clicks.csv, line 3: timestamp '{wrong}' .*--skip-invalid"):
        read(tmp_path, text)
    clicks = read(tmp_path, text, SKIP)
    assert clicks.frame["item_id"].to_list() == [2, 4]
    assert "1 of 3 rows left out" in clicks.notes[0]
    assert f"line 3: '{wrong}' (1)" in clicks.notes[0]


def test_zero_among_seconds_is_no_time(tmp_path: Path) -> None:
    with pytest.raises(ClicksError, match=r"line 3: timestamp '0'"):
        read(tmp_path, HEADER + "1,2,1396873412\n1,3,0\n")


@pytest.mark.parametrize(
    "written",
    [
        "2019-10-01 00:00:00 UTC",
        "2019-10-01T00:00:00Z",
        "2019-10-01 00:00:00",
        "2019-10-01 00:00:00.000",
        "2019-10-01T00:00:00,000Z",
        "2019-10-01T00:00:00.000+00:00",
        "2019-10-01 02:00:00+02",
        "2019-09-30T19:00:00-0500",
        "2019-10-01 05:30:00 +0530",
        "2019-10-01 02:00:00 +0200 CEST",
        "2019-10-01T02:00+02:00[Europe/Paris]",
        "2019-10-01 00:00",
        "2019-10-01 12:00:00 AM",
        "2019/10/01 00:00:00",
        "2019/10/1 0:00",
        "01.10.2019 00:00:00",
        "20191001T000000Z",
        "01/Oct/2019:02:00:00 +0200",
        "Tue, 01 Oct 2019 00:00:00 GMT",
        "Tue Oct 01 00:00:00 UTC 2019",
        "Tue Oct  1 00:00:00 2019",
        "01-Oct-2019 00:00:00",
        "1569888000",
        " 1569888000000 ",
    ],
)
def test_common_times_are_read(tmp_path: Path, written: str) -> None:
    text = f'session_id,item_id,timestamp\n1,2,"{written}"\n1,3,"{written}"\n'
    assert read(tmp_path, text).frame["timestamp"].to_list() == [1569888000000] * 2
    assert read_parquet(tmp_path, timestamp=[written] * 2).frame["timestamp"].to_list() == [1569888000000] * 2


def test_times_of_several_forms(tmp_path: Path) -> None:
    text = HEADER + "1,2,2019-10-01 00:00:00 UTC\n1,3,2019-10-01T00:00:01+00:00\n1,4,1569888002000\n"
    assert read(tmp_path, text).frame["timestamp"].to_list() == [1569888000000 + 1000 * n for n in range(3)]


@pytest.mark.parametrize("written", ["01/02/2019 00:00:00", "2019-10-01", "2019-10-01 00:00:00 CET", "12:30:00", "now"])
def test_times_with_several_meanings_are_refused(tmp_path: Path, written: str) -> None:
    with pytest.raises(
        ClicksError, match=r"line 2: timestamp '.*' is not in milliseconds.*2 of 2 clicks are like that"
    ):
        read(tmp_path, HEADER + f"1,2,{written}\n1,3,{written}\n")


@pytest.mark.parametrize("mark", ["NULL", "", r"\N"])
def test_no_times_at_all_is_row_order(tmp_path: Path, mark: str) -> None:
    assert read(tmp_path, HEADER + f"1,2,{mark}\n1,3,{mark}\n").frame["timestamp"].to_list() == [None, None]
    text = HEADER + f"1,2,{mark}\n1,3,{START}\n"
    with pytest.raises(ClicksError, match=r"timestamp is null in 1 of 2 clicks: give every click its time, or none"):
        read(tmp_path, text)
    assert read(tmp_path, text, SKIP).frame["item_id"].to_list() == [3]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"item_id": [5.0, 6.0]}, (5, START)),
        ({"item_id": pl.Series([5.0, 6.0], dtype=pl.Float32)}, (5, START)),
        ({"item_id": [Decimal(5), Decimal(6)]}, (5, START)),
        ({"item_id": ["5.0", "6.0"]}, (5, START)),
        ({"item_id": ["5", "6"]}, ("5", START)),
        ({"item_id": [b"a", b"b"]}, ("a", START)),
        ({"timestamp": [1396873412, 1396873413]}, (5, 1396873412000)),
        ({"timestamp": [1396873412.5, 1396873413.0]}, (5, 1396873412500)),
        ({"timestamp": [float(START), float(START)]}, (5, START)),
        ({"timestamp": [Decimal("1396873412.5"), Decimal("1396873413.0")]}, (5, 1396873412500)),
        ({"timestamp": [datetime(2019, 10, 1)] * 2}, (5, 1569888000000)),
        (
            {"timestamp": pl.Series([datetime(2019, 10, 1, tzinfo=UTC)] * 2).dt.convert_time_zone("Asia/Tokyo")},
            (5, 1569888000000),
        ),
    ],
)
def test_parquet_columns_of_other_types(tmp_path: Path, columns: dict[str, Any], expected: tuple[Any, Any]) -> None:
    assert read_parquet(tmp_path, **columns).frame.row(0) == (1, *expected)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"item_id": [5.0, float("nan")]}, r"item_id is null or empty in 1 of 2 clicks \(the first is click 2: nan\)"),
        ({"item_id": ["5", "NULL"]}, r"item_id is null or empty in 1 of 2 clicks \(the first is click 2: 'NULL'\)"),
        ({"item_id": [2.0**60, 1.0]}, r"item_id is Float64: .* 1\.15.* is neither, or has more digits"),
        ({"timestamp": [date(2019, 10, 1)] * 2}, r"timestamp is Date: write whole milliseconds"),
        ({"timestamp": [START, 5]}, r"click 2: timestamp 5 is not in milliseconds"),
    ],
)
def test_parquet_values_without_a_meaning(tmp_path: Path, columns: dict[str, Any], message: str) -> None:
    with pytest.raises(ClicksError, match=message):
        read_parquet(tmp_path, **columns)


EVENTS = (
    "session_id,event_type,item_id,timestamp\n"
    f"a,view,s1,{START}\na,pageview,,{START}\na,cart,s2,{START}\na,,s3,{START}\nb,view,,{START}\n"
)


def where(*conditions: str, skip_invalid: bool = False) -> FileForm:
    return FileForm(where=tuple(map(Condition.of, conditions)), skip_invalid=skip_invalid)


def test_where_chooses_rows_and_counts_the_others(tmp_path: Path) -> None:
    clicks = read(tmp_path, EVENTS, where("event_type=cart"))
    assert clicks.frame["item_id"].to_list() == ["s2"]
    assert clicks.notes == (f"{tmp_path / 'clicks.csv'}: 4 of 5 rows left out: not event_type=cart (4)",)
    clicks = read(tmp_path, EVENTS, where("event_type=cart,view", "session_id=a"))
    assert clicks.frame["item_id"].to_list() == ["s1", "s2"]
    assert "3 of 5 rows left out: not event_type=cart,view (2), not session_id=a (1)" in clicks.notes[0]
    clicks = read(tmp_path, EVENTS, where("event_type=cart,view", skip_invalid=True))
    assert clicks.frame["item_id"].to_list() == ["s1", "s2"]
    assert "3 of 5 rows left out: not event_type=cart,view (2), item_id is null" in clicks.notes[0]
    assert "first in line 6 (1)" in clicks.notes[0]


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (where("event_type=look"), r"has no row with event_type=look: event_type is cart, pageview, view"),
        (where("kind=view"), r"has no column kind, as --where kind=view says: it has session_id, event_type"),
        (where("event_type=pageview", skip_invalid=True), r"holds no clicks: .*5 of 5 rows left out"),
        (where("event_type=view"), r"item_id is null or empty in 1 of 2 clicks \(the first is line 6\)"),
    ],
)
def test_what_leaves_no_clicks_is_said(tmp_path: Path, form: FileForm, message: str) -> None:
    with pytest.raises(ClicksError, match=message):
        read(tmp_path, EVENTS, form)


def test_where_looks_into_nested_columns(tmp_path: Path) -> None:
    clicks = read_parquet(tmp_path, where("payload.kind=view"), payload=[{"kind": "view"}, {"kind": "cart"}])
    assert clicks.frame["item_id"].to_list() == [5]


def test_rows_without_a_split_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "clicks.csv"
    path.write_text("session_id,item_id,timestamp,split\n1,2,3,train\n1,3,4,\n2,3,4,test\n")
    clicks = read_click_file(path, ["train"])
    assert len(clicks.frame) == 1
    assert clicks.notes == (f"{path}: 1 of 2 rows left out: without a split (1)",)


@given(st.lists(st.tuples(st.sampled_from(["1", "", "NULL", "x"]), st.sampled_from(["5", "nan", "6.0", ""]),
                          st.sampled_from([str(START), "0", "", "soon", "2019-10-01 00:00:00 UTC"])), min_size=1,
                max_size=20))  # fmt: skip
def test_rows_in_are_rows_out_and_rows_said_to_be_left_out(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, str]]
) -> None:
    path = tmp_path_factory.mktemp("sum") / "clicks.csv"
    path.write_text("session_id,item_id,timestamp,note\n" + "".join(",".join(row) + ",n\n" for row in rows))
    clicks = clicks_or_refusal(path, SKIP)
    if isinstance(clicks, str):
        assert f"{len(rows)} of {len(rows)} rows left out" in clicks
        return
    left = next((note for note in clicks.notes if "left out" in note), f"{path}: 0 of {len(rows)} rows")
    assert left.startswith(f"{path}: {len(rows) - len(clicks.frame)} of {len(rows)} rows")
