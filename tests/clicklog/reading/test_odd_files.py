"""Files whose values look like something else: rounded ids, dates as numbers, marks among times, names as patterns."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from clicklog.click_files import read_click_file
from clicklog.reading.form import FileForm
from schemas.conditions import Condition
from schemas.errors import ClicksError

HEADER = "session_id,item_id,timestamp\n"
TIME = 1_700_000_000_000
SKIP = FileForm(skip_invalid=True)


def read(directory: Path, text: str | bytes, form: FileForm | None = None, name: str = "clicks.csv") -> Any:
    path = directory / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_click_file(path, (), form or FileForm())


def items(directory: Path, *ids: str, form: FileForm | None = None) -> list[int | str]:
    text = HEADER + "".join(f"{session},{item},{TIME}\n" for session, item in enumerate(ids))
    found: list[int | str] = read(directory, text, form).frame["item_id"].to_list()
    return found


def times(directory: Path, *texts: str, form: FileForm | None = None) -> list[int]:
    text = HEADER + "".join(f"{session},1,{time}\n" for session, time in enumerate(texts))
    found: list[int] = read(directory, text, form).frame["timestamp"].to_list()
    return found


def table(directory: Path, name: str = "clicks.parquet", **columns: Any) -> Path:
    path = directory / name
    pl.DataFrame({"session_id": ["a", "a"], "item_id": [5, 6], "timestamp": [TIME, TIME + 1], **columns}).write_parquet(
        path
    )
    return path


@pytest.mark.parametrize("rounded", ["2.14537E+11", "2.1453E+11", "1.23457e+06", "1.23457E+06"])
def test_ids_that_a_spreadsheet_rounded_are_refused(tmp_path: Path, rounded: str) -> None:
    with pytest.raises(ClicksError, match=f"item_id {rounded}".replace("+", r"\+") + " is rounded to six digits"):
        items(tmp_path, "7", rounded)


def test_ids_that_r_and_java_write_with_an_exponent_are_whole_numbers(tmp_path: Path) -> None:
    assert items(tmp_path, "1e+05", "100001", "1.234567E7") == [100_000, 100_001, 12_345_670]


def test_floats_next_to_two_to_the_53_are_refused(tmp_path: Path) -> None:
    """2^53 + 1 is not a float: it is read as 2^53."""
    with pytest.raises(ClicksError, match=r"9007199254740993\.0 is written as a floating-point number"):
        items(tmp_path, "5.0", "9007199254740993.0")
    with pytest.raises(ClicksError, match="more digits than its type holds"):
        read_click_file(table(tmp_path, item_id=pl.Series([5.0, 2.0**24 + 1], dtype=pl.Float32)))


@pytest.mark.parametrize("space", ["\t", "\u00a0", " "])
def test_spaces_of_any_kind_around_an_id_are_no_part_of_it(tmp_path: Path, space: str) -> None:
    assert items(tmp_path, f"{space}lamp", "lamp", f"lamp{space}") == ["lamp"] * 3
    assert items(tmp_path, f'{space}"5"', "5", f'"6"{space}') == [5, 5, 6]


@pytest.mark.parametrize("mark", ["undefined", "NaT", "NONE"])
def test_more_marks_of_a_missing_id(tmp_path: Path, mark: str) -> None:
    assert items(tmp_path, "5", mark, "6", form=SKIP) == [5, 6]


def test_an_id_that_no_click_may_have_is_refused(tmp_path: Path) -> None:
    longest = "é" * 256
    assert items(tmp_path, longest, "x") == [longest, "x"]
    with pytest.raises(ClicksError, match=r"line 3: item_id 'xxx.*' is longer than 256 characters"):
        items(tmp_path, "lamp", "x" * 257)
    assert items(tmp_path, "lamp", "x" * 257, form=SKIP) == ["lamp"]


@pytest.mark.parametrize(("odd", "line"), [("-1", 3), ("1", 3), ("1700000000000000", 3)])
def test_a_number_that_is_no_time_does_not_make_seconds_milliseconds(tmp_path: Path, odd: str, line: int) -> None:
    with pytest.raises(ClicksError, match=f"line {line}: timestamp '{odd}' is not in milliseconds"):
        times(tmp_path, "1700000000", odd, "1700000001")
    assert times(tmp_path, "1700000000", odd, "1700000001", form=SKIP) == [TIME, TIME + 1000]


def test_a_log_that_counts_from_zero_stays_in_milliseconds(tmp_path: Path) -> None:
    assert times(tmp_path, "0", "5000000", "1500000000") == [0, 5_000_000, 1_500_000_000]


@pytest.mark.parametrize("mark", ["0", "-1", "20231114"])
def test_a_number_among_dates_is_no_time_of_january_1970(tmp_path: Path, mark: str) -> None:
    with pytest.raises(ClicksError, match=f"line 3: timestamp '{mark}'"):
        times(tmp_path, "2023-11-14T22:13:20Z", mark)
    assert times(tmp_path, "2023-11-14T22:13:20Z", mark, form=SKIP) == [TIME]


def test_dates_written_as_numbers(tmp_path: Path) -> None:
    moment = int(datetime(2023, 11, 14, 22, 13, tzinfo=UTC).timestamp() * 1000)
    assert times(tmp_path, "202311142213", "202311142214") == [moment, moment + 60_000]
    with pytest.raises(ClicksError, match="line 2: timestamp '20231114' is not in milliseconds"):
        times(tmp_path, "20231114", "20231115")
    with pytest.raises(ClicksError, match="line 3: timestamp '20231114221320' is not in milliseconds"):
        times(tmp_path, str(TIME), "20231114221320")


def test_times_that_were_rounded_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ClicksError, match=r"line 2: timestamp '1.7E\+12'"):
        times(tmp_path, "1.7E+12", "1.70001E+12")
    with pytest.raises(ClicksError, match="timestamp is Float32, which rounds a time to minutes"):
        read_click_file(table(tmp_path, timestamp=pl.Series([TIME, TIME], dtype=pl.Float32)))


def test_an_offset_of_more_hours_than_any_zone_has_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ClicksError, match=r"timestamp '2023-11-14T22:13:20\+25:00'"):
        times(tmp_path, "2023-11-14T22:13:20+25:00")


@pytest.mark.parametrize("name", ["clicks[1].parquet", "clicks?.parquet", "clicks*.parquet"])
def test_a_name_with_signs_of_a_pattern_is_one_file(tmp_path: Path, name: str) -> None:
    table(tmp_path, "clicks1.parquet", session_id=["other", "other"])
    assert read_click_file(table(tmp_path, name)).frame["session_id"].to_list() == ["a", "a"]


def test_the_last_suffix_counts(tmp_path: Path) -> None:
    text = HEADER + f"s,5,{TIME}\n"
    for name in ("clicks.parquet.csv", "clicks.tsv", "clicks.csv.tsv"):
        written = text.replace(",", "\t") if name.endswith(".tsv") else text
        assert read(tmp_path, written, name=name).frame.rows() == [("s", 5, TIME)]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_line_ends_of_old_macs_and_every_byte_order_mark(tmp_path: Path, encoding: str) -> None:
    text = HEADER + f"s,5,{TIME}\ns,é,{TIME}\n"
    for end in ("\r", "\n", "\r\n"):
        frame = read(tmp_path, text.replace("\n", end).encode(encoding)).frame
        assert frame.rows() == [("s", "5", TIME), ("s", "é", TIME)]


def test_what_is_no_text_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(ClicksError, match=r"clicks\.csv is no text file: its first line has zero bytes"):
        read(tmp_path, b"PK\x03\x04\x14\x00\x06\x00" + bytes(range(256)))
    with pytest.raises(ClicksError, match="--encoding hex is not known"):
        FileForm.of(None, "hex", (), False)
    with pytest.raises(ClicksError, match="is not in utf-16"):
        read(tmp_path, HEADER, FileForm(encoding="utf-16"))


def test_conditions_on_columns_that_hold_no_single_value(tmp_path: Path) -> None:
    path = table(tmp_path, kind=[["view"], ["buy"]], page={"kind": ["view", "view"]}, raw=[b"view", b"\xff"])
    for condition, message in (
        ("kind=view", r"--where kind=view: kind is List\(String\)"),
        ("page.name=view", "which has no field name"),
        ("raw=view", r"clicks\.parquet cannot be read: invalid utf8"),
    ):
        with pytest.raises(ClicksError, match=message):
            read_click_file(path, (), FileForm(where=(Condition.of(condition),)))


def test_a_condition_on_a_column_that_the_file_has_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ClicksError, match="has two columns kind"):
        read(
            tmp_path,
            f"session_id,item_id,timestamp,kind,kind\ns,5,{TIME},view,buy\n",
            FileForm(where=(Condition.of("kind=view"),)),
        )
