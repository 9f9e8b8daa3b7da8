"""Check a raw log line by line and write its clicks, without loading the log into memory."""

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from clicklog.click_file_writer import check_out, is_csv
from clicklog.clicks import COLUMNS, IDS
from clicklog.importers.raw import RawLog
from clicklog.reading.delimited import ROW, is_blank
from clicklog.reading.rows import HELP, LeftOut
from clicklog.sessions import session_number
from schemas.click import MAX_TIMESTAMP
from schemas.durations import milliseconds
from schemas.errors import ClicksError


@dataclass(frozen=True)
class Imported:
    """Counts of what was written, and the times of the first and last click in ms since 1970 (None without times)."""

    clicks: int
    sessions: int
    items: int
    first: int | None
    last: int | None


def import_log(log: RawLog, out: Path) -> tuple[Imported, LeftOut]:
    """Check every line, then write session_id, item_id and timestamp; if any line is bad, nothing is written.

    Bad lines are left out and counted instead, where the log's form says so.

    Raises:
        ClicksError: a line is bad (named by its number), the log has no click, or the file cannot be written.
    """
    check_out(out, log.path)
    part = out.with_name(f".{out.name}.part")
    try:
        left_out, blank = _check(log)
        lines = log.lines.chosen.filter(~is_blank(log.lines.all)) if blank else log.lines.chosen
        clicks = lines.select(**log.values())
        if log.lines.file.form.skip_invalid:
            clicks = clicks.filter(~pl.any_horizontal(_wrong(log).values()))
        if log.gap is not None:
            clicks = _cut_visitors(clicks, milliseconds(log.gap))
        clicks = clicks.select(COLUMNS)
        if is_csv(out):
            clicks.sink_csv(part)
        else:
            clicks.sink_parquet(part)
        counts = _counts(part, out)
        part.replace(out)
    except pl.exceptions.PolarsError as error:
        raise log.lines.file.unreadable(error) from error
    except OSError as error:
        raise ClicksError(f"--out {out} cannot be written: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)
    return counts, left_out


def _counts(part: Path, out: Path) -> Imported:
    written = pl.scan_csv(part, infer_schema=False, glob=False) if is_csv(out) else pl.scan_parquet(part, glob=False)
    counts = written.select(
        pl.len().alias("clicks"),
        pl.col("session_id").n_unique().alias("sessions"),
        pl.col("item_id").n_unique().alias("items"),
        pl.col("timestamp").cast(pl.Int64, strict=False).min().alias("first"),
        pl.col("timestamp").cast(pl.Int64, strict=False).max().alias("last"),
    ).collect(engine="streaming")
    return Imported(**counts.row(0, named=True))


def _cut_visitors(clicks: pl.LazyFrame, gap_ms: int) -> pl.LazyFrame:
    """Visitors' clicks to sessions, numbered from 0; a visitor's silence longer than the gap begins a new session."""
    ordered = clicks.sort("session_id", "timestamp", maintain_order=True)
    return ordered.with_columns((session_number(gap_ms).cast(pl.Int64) - 1).alias("session_id"))


def _wrong(log: RawLog) -> dict[str, pl.Expr]:
    """Which values of a click are bad."""
    wrong = {name: pl.col(name).is_null() for name in IDS}
    if log.time is not None:
        time = pl.col("timestamp")
        wrong["timestamp"] = time.is_null() | (time < 0) | (time > MAX_TIMESTAMP)
    return wrong


def _check(log: RawLog) -> tuple[LeftOut, int]:
    """Count the lines that are left out; raise for the first bad line if they are not to be left out.

    Returns:
        The lines that are left out, and the number of blank lines.
    """
    lines, wrong = log.lines, _wrong(log)
    names = [f"condition {number}" for number in range(len(lines.conditions))]
    filled = ~pl.col("blank")
    bad = pl.all_horizontal(filled, *names) & pl.any_horizontal(wrong.values())
    outs = []
    for number, name in enumerate(names):
        before = [pl.col(other) for other in names[:number]]
        outs.append((pl.all_horizontal(filled, *before, ~pl.col(name))).sum().alias(f"out {number}"))
    found = (
        lines.all.select(
            ROW, **dict(zip(names, lines.conditions.values(), strict=True)), **log.values(), blank=is_blank(lines.all)
        )
        .select(
            filled.sum().alias("all"),
            (~filled).sum().alias("blank"),
            bad.sum().alias("bad"),
            pl.col(ROW).filter(bad).min().alias("first"),
            *outs,
        )
        .collect(engine="streaming")
        .row(0, named=True)
    )
    left_out = LeftOut(log.path, found["all"])
    for number, reason in enumerate(lines.conditions):
        left_out.add(reason, found[f"out {number}"])
    chosen = found["all"] - sum(left_out.reasons.values())
    if chosen == 0:
        raise ClicksError(f"{log.path} holds no clicks{f' ({left_out})' if left_out.reasons else ''}")
    if found["bad"]:
        _refuse_or_count(log, left_out, found["first"], found["bad"], chosen)
    return left_out, found["blank"]


def _refuse_or_count(log: RawLog, left_out: LeftOut, first: int, bad: int, chosen: int) -> None:
    file = log.lines.file
    line = log.lines.all.filter(pl.col(ROW) == first)
    values = line.select(**log.values())
    names = [name for name, expression in _wrong(log).items() if values.select(expression).collect().item()]
    fields = line.select(log.columns).collect().row(0, named=True)
    shown = ", ".join(f"{name} {value!r}" for name, value in fields.items())
    place = file.place(first)
    if file.form.skip_invalid:
        left_out.add(f"no valid click, first in {place}: {' and '.join(names)} from {shown}", bad)
        if bad == chosen:
            raise ClicksError(f"{log.path} holds no clicks: {left_out}")
        return
    more = f"; {bad:,} of {chosen:,} lines are like that" if bad > 1 else ""
    raise ClicksError(
        f"{place} of {log.path} is no click: {' and '.join(names)} cannot be read from {shown}{more}: {HELP}"
    )
