"""A raw log before it is checked: every field as text, and the expressions for its clicks."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import polars as pl

from schemas.errors import ClicksError


@dataclass(frozen=True)
class RawLog:
    """Clicks of a log that may have bad lines.

    Attributes:
        path: of the log.
        lines: session, item and time as texts (null where a line is too short), and `line`, the line's number.
        session: the session id, null where it is invalid.
        item: the item id, null where it is invalid.
        time: ms since 1970 UTC, null where it is invalid; None if the log has no times.
        gap: `session` is a visitor, whose longer silence begins a new session; None if `session` is a session.
    """

    path: Path
    lines: pl.LazyFrame
    session: pl.Expr
    item: pl.Expr
    time: pl.Expr | None
    gap: timedelta | None = None

    def clicks(self) -> pl.LazyFrame:
        """session_id, item_id and timestamp of every line, null where a value is bad."""
        time = pl.lit(None, pl.Int64) if self.time is None else self.time
        return self.lines.select(
            "line", self.session.alias("session_id"), self.item.alias("item_id"), time.alias("timestamp")
        )


def scan(
    path: Path, columns: Sequence[str], separator: str = ",", *, header: bool = True, least: int | None = None
) -> pl.LazyFrame:
    """Read a delimited file lazily, every field as text; blank lines are skipped.

    Args:
        path: may be compressed (.gz, .zst).
        columns: with a header, the columns that it must have; without a header, the names of all columns.
        separator: between fields.
        header: whether the first line names the columns.
        least: without a header, the fewest fields of the first line; all columns by default.

    Returns:
        The columns, and `line`, the line's number in the file from 1.

    Raises:
        ClicksError: the file is missing or empty, or has other columns.
    """
    if not path.is_file():
        raise ClicksError(f"{path} does not exist, or is no file: give the log as it was published, unpacked")
    try:
        lazy = pl.scan_csv(
            path,
            separator=separator,
            has_header=header,
            infer_schema=False,
            row_index_name="line",
            row_index_offset=2 if header else 1,
            encoding="utf8",
        )
        found = lazy.collect_schema().names()[1:]
    except (pl.exceptions.PolarsError, OSError) as error:
        raise unreadable(path, error) from error
    if header:
        _check_header(path, [name.strip() for name in found], columns, separator)
        return lazy.rename(str.strip).select("line", *columns)
    if not (least or len(columns)) <= len(found) <= len(columns):
        raise ClicksError(
            f"{path} has {len(found)} fields in its first line, and this log has {len(columns)} "
            f"({', '.join(columns)}), parted by {separator!r}: is it the right file?"
        )
    return lazy.rename(dict(zip(found, columns, strict=False)))


def _check_header(path: Path, found: Sequence[str], columns: Sequence[str], separator: str) -> None:
    missing = [name for name in columns if name not in found]
    if missing:
        raise ClicksError(
            f"{path} has no column {', '.join(missing)}: its first line names {', '.join(found)}; is it the right "
            f"file, with fields parted by {separator!r}?"
        )


def unreadable(path: Path, error: Exception) -> ClicksError:
    """The error for a log that cannot be parsed."""
    reason = str(error).strip().splitlines()
    return ClicksError(f"{path} cannot be read: {reason[0] if reason else type(error).__name__}")


def whole_number(column: str) -> pl.Expr:
    """A column as integers, null where the text is not an integer."""
    return pl.col(column).str.strip_chars().cast(pl.Int64, strict=False)


def iso_time(column: str) -> pl.Expr:
    """An ISO 8601 time in UTC (with or without a trailing Z) as ms since 1970; null where it is invalid."""
    text = pl.col(column).str.strip_chars().str.strip_suffix("Z").str.replace(" ", "T", literal=True)
    return text.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", strict=False, time_unit="ms").dt.epoch("ms")
