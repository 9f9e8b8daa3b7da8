"""A raw log before it is checked: every field as text, and the expressions for its clicks."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import polars as pl

from clicklog.reading.delimited import Delimited, open_delimited
from clicklog.reading.form import DEFAULT_FORM, FileForm
from clicklog.reading.rows import check_conditions, matches
from clicklog.reading.text import utf8_text
from schemas.errors import ClicksError


@dataclass(frozen=True)
class LogFile:
    """A log that is about to be read.

    Attributes:
        path: as the user named it.
        text: the same file as plain UTF-8.
        form: how it is written, and which of its lines are clicks.
    """

    path: Path
    text: Path
    form: FileForm


@dataclass(frozen=True)
class Lines:
    """The lines of a log.

    Attributes:
        file: the log.
        all: every field as text, with the line's number; also blank lines.
        conditions: what a line must be to be a click, by the reason that leaves others out.
    """

    file: Delimited
    all: pl.LazyFrame
    conditions: Mapping[str, pl.Expr]

    @property
    def chosen(self) -> pl.LazyFrame:
        """The lines that meet all conditions."""
        return self.all.filter(*self.conditions.values())


@dataclass(frozen=True)
class RawLog:
    """Clicks of a log that may have bad lines.

    Attributes:
        lines: session, item and time as texts (null where a line is too short).
        columns: names of the fields that say session, item and time.
        session: the session id, null where it is invalid.
        item: the item id, null where it is invalid.
        time: ms since 1970 UTC, null where it is invalid; None if the log has no times.
        gap: `session` is a visitor, whose longer silence begins a new session; None if `session` is a session.
        note: what the user must know about how the log was read; empty if there is nothing.
    """

    lines: Lines
    columns: Sequence[str]
    session: pl.Expr
    item: pl.Expr
    time: pl.Expr | None
    gap: timedelta | None = None
    note: str = ""

    @property
    def path(self) -> Path:
        """The log as the user named it."""
        return self.lines.file.path

    def values(self) -> dict[str, pl.Expr]:
        """session_id, item_id and timestamp of a line, null where a value is bad."""
        time = pl.lit(None, pl.Int64) if self.time is None else self.time
        return {"session_id": self.session, "item_id": self.item, "timestamp": time}


@contextmanager
def open_log(path: Path, form: FileForm = DEFAULT_FORM) -> Iterator[LogFile]:
    """A log to read until the end of the block.

    Raises:
        ClicksError: the file does not exist, or is not in the encoding that the form says.
    """
    if not path.is_file():
        raise ClicksError(f"{path} does not exist, or is no file: give the log as it was published, unpacked")
    with utf8_text(path, form.encoding) as text:
        yield LogFile(path, text, form)


def scan(
    log: LogFile,
    columns: Sequence[str],
    separator: str = ",",
    *,
    header: bool = True,
    least: int | None = None,
    typed: bool = False,
) -> Lines:
    """Read a delimited file lazily, every field as text; blank lines are skipped.

    Args:
        log: the file.
        columns: with a header, the columns that it must have; without a header, the names of all columns.
        separator: between fields.
        header: whether the first line names the columns.
        least: without a header, the fewest fields of the first line; all columns by default.
        typed: find out what the texts of the columns are, see `with_numbers`.

    Raises:
        ClicksError: the file is empty, or has other columns.
    """
    if header:
        file = open_delimited(log.path, log.text, log.form, columns, separator)
        _check_header(log.path, file.names, columns, separator)
    else:
        file = open_delimited(log.path, log.text, log.form, (), separator)
        found = len(file.names)
        if not (least or len(columns)) <= found <= len(columns):
            raise ClicksError(
                f"{log.path} has {found} fields in its first line, and this log has {len(columns)} "
                f"({', '.join(columns)}), parted by {separator!r}: is it the right file?"
            )
        file.names, file.header = tuple(columns[:found]), False
        columns = file.names
    wanted = dict.fromkeys([*columns, *check_conditions(log.path, log.form, file.names)])
    rows = file.rows(list(wanted), columns if typed else ())
    conditions = {f"not {condition}": matches(condition, rows) for condition in log.form.where}
    return Lines(file, rows, conditions)


def _check_header(path: Path, found: Sequence[str], columns: Sequence[str], separator: str) -> None:
    missing = [name for name in columns if name not in found]
    if missing:
        raise ClicksError(
            f"{path} has no column {', '.join(missing)}: its first line names {', '.join(found)}; is it the right "
            f"file, with fields parted by {separator!r}?"
        )


def whole_number(column: str) -> pl.Expr:
    """A column as integers, null where the text is not an integer."""
    return pl.col(column).str.strip_chars().cast(pl.Int64, strict=False)


def iso_time(column: str) -> pl.Expr:
    """An ISO 8601 time in UTC (with or without a trailing Z) as ms since 1970; null where it is invalid."""
    text = pl.col(column).str.strip_chars().str.strip_suffix("Z").str.replace(" ", "T", literal=True)
    return text.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", strict=False, time_unit="ms").dt.epoch("ms")
