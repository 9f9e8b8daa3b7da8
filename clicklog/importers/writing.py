"""Check a raw log line by line and write its clicks, without loading the log into memory."""

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from clicklog.click_file_writer import check_out, is_csv
from clicklog.importers.raw import RawLog, unreadable
from clicklog.sessions import session_number
from schemas.click import MAX_TIMESTAMP
from schemas.durations import milliseconds
from schemas.errors import ClicksError

COLUMNS = ("session_id", "item_id", "timestamp")


@dataclass(frozen=True)
class Imported:
    """Counts of what was written, and the times of the first and last click in ms since 1970 (None without times)."""

    clicks: int
    sessions: int
    items: int
    first: int | None
    last: int | None


def import_log(log: RawLog, out: Path) -> Imported:
    """Check every line, then write session_id, item_id and timestamp; if any line is bad, nothing is written.

    Raises:
        ClicksError: a line is bad (named by its number), the log has no click, or the file cannot be written.
    """
    check_out(out)
    part = out.with_name(f".{out.name}.part")
    try:
        _check(log)
        clicks = log.clicks()
        if log.gap is not None:
            clicks = _cut_visitors(clicks, milliseconds(log.gap))
        clicks = clicks.select(COLUMNS)
        if is_csv(out):
            clicks.sink_csv(part)
        else:
            clicks.sink_parquet(part)
        written = pl.scan_csv(part) if is_csv(out) else pl.scan_parquet(part)
        counts = written.select(
            pl.len().alias("clicks"),
            pl.col("session_id").n_unique().alias("sessions"),
            pl.col("item_id").n_unique().alias("items"),
            pl.col("timestamp").cast(pl.Int64, strict=False).min().alias("first"),
            pl.col("timestamp").cast(pl.Int64, strict=False).max().alias("last"),
        ).collect(engine="streaming")
        part.replace(out)
    except pl.exceptions.PolarsError as error:
        raise unreadable(log.path, error) from error
    except OSError as error:
        raise ClicksError(f"--out {out} cannot be written: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)
    return Imported(**counts.row(0, named=True))


def _cut_visitors(clicks: pl.LazyFrame, gap_ms: int) -> pl.LazyFrame:
    """Visitors' clicks to sessions, numbered from 0; a visitor's silence longer than the gap begins a new session."""
    ordered = clicks.sort("session_id", "timestamp", maintain_order=True)
    return ordered.with_columns((session_number(gap_ms).cast(pl.Int64) - 1).alias("session_id"))


def _check(log: RawLog) -> None:
    """Raise for the first bad line."""
    clicks = log.clicks()
    wrong = {
        "session_id": pl.col("session_id").is_null(),
        "item_id": pl.col("item_id").is_null(),
    }
    if log.time is not None:
        time = pl.col("timestamp")
        wrong["timestamp"] = time.is_null() | (time < 0) | (time > MAX_TIMESTAMP)
    bad = pl.any_horizontal(wrong.values())
    found = clicks.select(
        pl.len().alias("all"), bad.sum().alias("bad"), pl.col("line").filter(bad).min().alias("line")
    ).collect(engine="streaming")
    total, count, line = found.row(0)
    if total == 0:
        raise ClicksError(f"{log.path} holds no clicks")
    if count:
        row = clicks.filter(pl.col("line") == line).with_columns(
            pl.when(expression).then(pl.lit(name)).alias(f"{name}?") for name, expression in wrong.items()
        )
        names = [name for name in row.select(f"{name}?" for name in wrong).collect().row(0) if name is not None]
        fields = log.lines.filter(pl.col("line") == line).drop("line").collect().row(0, named=True)
        shown = ", ".join(f"{name} {value!r}" for name, value in fields.items())
        more = f"; {count:,} of {total:,} lines are like that" if count > 1 else ""
        raise ClicksError(
            f"line {line} of {log.path} is no click: {' and '.join(names)} cannot be read from {shown}{more}"
        )
