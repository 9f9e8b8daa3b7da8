"""Clicks from a Parquet or CSV file.

Columns: session_id and item_id (integers or strings), timestamp (ms since 1970 UTC, or null in all rows: then the row
order is the click order), and optionally split. Every row of the file becomes a click, is counted as left out, or the
file is refused.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from clicklog.clicks import COLUMNS, IDS, Clicks
from clicklog.reading.delimited import ROW, open_delimited
from clicklog.reading.facts import Facts
from clicklog.reading.form import DEFAULT_FORM, FileForm
from clicklog.reading.ids import id_expression
from clicklog.reading.rows import HELP, Fault, LeftOut, check_conditions, faults_of, select_rows, valid_rows
from clicklog.reading.text import utf8_text
from clicklog.reading.times import time_expression
from schemas.click import MAX_ID_LENGTH
from schemas.errors import ClicksError, one_line

PARQUET, DELIMITED = {".parquet", ".pq"}, {".csv", ".tsv"}
"""Suffixes by which a file is known; the last of them counts, as in `clicks.parquet.csv`."""


def read_click_file(path: Path, splits: Sequence[str] = (), form: FileForm = DEFAULT_FORM) -> Clicks:
    """Read a file of clicks.

    Args:
        path: ends in .parquet, or in .csv or .tsv (also with .gz or .zst behind it).
        splits: keep only the rows of these splits; all rows if empty.
        form: how the file is written, and which of its rows are clicks.

    Raises:
        ClicksError: the file is missing or unreadable, lacks a column, has no such split, has no click, or a value
            is not a valid id or time.
    """
    try:
        with _open(path, form) as table:
            return _read(table, splits, form)
    except pl.exceptions.PolarsError as error:
        raise ClicksError(f"{path} cannot be read: {one_line(error)}") from error


@dataclass(frozen=True)
class _Table:
    """A file's columns as they stand in it.

    Attributes:
        path: of the file.
        rows: in memory, each with its number in the file.
        delimited: whether it is a delimited file.
        place: where a row stands in the file.
        hint: what else may help if a row is no click, as the end of a sentence.
    """

    path: Path
    rows: pl.LazyFrame
    delimited: bool
    place: Callable[[int], str]
    hint: str = ""


def _read(table: _Table, splits: Sequence[str], form: FileForm) -> Clicks:
    path, rows, left_out = table.path, table.rows, LeftOut(table.path)
    if splits:
        rows = _select_splits(rows, splits, path, left_out)
    left_out.rows = rows.select(pl.len()).collect().item() + sum(left_out.reasons.values())
    rows = select_rows(rows, form, path, left_out).collect().lazy()
    if rows.select(pl.len()).collect().item() == 0:
        raise ClicksError(f"{path} holds no clicks{' in split ' + ', '.join(splits) if splits else ''}")
    facts = Facts(rows)
    ids = [id_expression(facts, name, path, delimited=table.delimited).alias(name) for name in IDS]
    time = time_expression(facts, "timestamp", path)
    untimed = not facts.of(time.given.any())[0]
    raw = [pl.col(name).alias(f"raw {name}") for name in COLUMNS]
    typed = rows.select(ROW, *raw, *ids, time.value.alias("timestamp"), time.given.alias("given")).collect().lazy()
    faults = [*faults_of(IDS, time, untimed, table.hint), *_too_long(typed)]
    valid = valid_rows(typed, faults, form, left_out, table.place)
    notes = tuple(note for note in (time.note, str(left_out)) if note)
    return Clicks(valid.select(COLUMNS).collect(), source=str(path), notes=notes)


def _too_long(rows: pl.LazyFrame) -> list[Fault]:
    """The ids that are longer than a click's may be, as faults."""
    texts = [name for name in IDS if rows.collect_schema()[name] == pl.String]
    bytes_ = rows.select((pl.col(name).str.len_bytes() > MAX_ID_LENGTH).any() for name in texts).collect()
    long = [name for name in texts if bytes_[name].item()]
    what = f"is longer than {MAX_ID_LENGTH} characters, which no click's may be"
    return [Fault(name, (pl.col(name).str.len_chars() > MAX_ID_LENGTH).fill_null(False), what, HELP) for name in long]


@contextmanager
def _open(path: Path, form: FileForm) -> Iterator[_Table]:
    if not path.exists():
        raise ClicksError(f"{path} does not exist: give a .parquet or .csv file of clicks")
    kinds = [suffix.lower() for suffix in path.suffixes if suffix.lower() in PARQUET | DELIMITED]
    if kinds and kinds[-1] in PARQUET:
        yield _parquet(path, form)
    elif kinds:
        with utf8_text(path, form.encoding) as text:
            yield _csv(path, text, form)
    else:
        raise ClicksError(
            f"{path} is neither .parquet nor .csv: convert it to one of them, as by `nextclick import csv`"
        )


def _parquet(path: Path, form: FileForm) -> _Table:
    for option, value in (("--quote", form.quote), ("--encoding", form.encoding)):
        if value is not None:
            raise ClicksError(f"{option} {value} says how a CSV file is written, and {path} is Parquet: leave it out")
    try:
        names = pl.scan_parquet(path, glob=False).collect_schema().names()
        frame = pl.read_parquet(path, columns=_wanted(path, names, form), row_index_name=ROW, glob=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise ClicksError(f"{path} cannot be read: {error}") from error
    return _Table(path, frame.lazy(), delimited=False, place=lambda row: f"click {row + 1}")


def _csv(path: Path, text: Path, form: FileForm) -> _Table:
    file = open_delimited(path, text, form, COLUMNS)
    rows = file.table(_wanted(path, file.names, form), COLUMNS)
    hint = """, --quote '"' reads quote signs as enclosing fields""" if file.signs_are_text else ""
    return _Table(path, rows, delimited=True, place=file.place, hint=hint)


def _wanted(path: Path, names: Sequence[str], form: FileForm) -> list[str]:
    """The columns to read."""
    missing = [name for name in COLUMNS if name not in names]
    if missing:
        raise ClicksError(
            f"{path} has no column {', '.join(missing)} (it has {', '.join(names)}): a clicks file has session_id, "
            "item_id, timestamp and optionally split; `nextclick import csv` takes other names"
        )
    split = ["split"] if "split" in names else []
    return list(dict.fromkeys([*COLUMNS, *split, *check_conditions(path, form, names)]))


def _select_splits(rows: pl.LazyFrame, splits: Sequence[str], path: Path, left_out: LeftOut) -> pl.LazyFrame:
    if "split" not in rows.collect_schema().names():
        raise ClicksError(f"{path} has no column split: leave out --split, or add the column")
    split = pl.col("split").cast(pl.String)
    known = rows.select(split.drop_nulls().unique().sort()).collect().to_series().to_list()
    unknown = [name for name in splits if name not in known]
    if unknown:
        raise ClicksError(f"{path} has no split {', '.join(map(repr, unknown))}: it has {', '.join(known) or 'none'}")
    left_out.add("without a split", rows.select(split.is_null().sum()).collect().item())
    return rows.filter(split.is_in(list(splits)))
