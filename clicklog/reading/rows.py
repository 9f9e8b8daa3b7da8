"""Which rows of a file are clicks: conditions, and rows that are no valid click. No row is left out without a word."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from clicklog.reading.delimited import ROW
from clicklog.reading.form import FileForm
from clicklog.reading.times import Times
from schemas.click import MAX_TIMESTAMP
from schemas.conditions import Condition
from schemas.errors import ClicksError

_KNOWN_SHOWN = 20
HELP = "--skip-invalid leaves such rows out, --where COLUMN=VALUE chooses the rows that are clicks"


@dataclass(frozen=True)
class Fault:
    """A reason why a row is no valid click.

    Attributes:
        column: that is at fault.
        wrong: whether a row is so.
        what: the fault, after the name of the column: `is null or empty`.
        help: what to do about it.
    """

    column: str
    wrong: pl.Expr
    what: str
    help: str


@dataclass
class LeftOut:
    """The rows of a file, and those that are no clicks.

    Attributes:
        path: of the file.
        rows: all rows that were asked for.
        reasons: number of rows left out, by reason.
    """

    path: Path
    rows: int = 0
    reasons: dict[str, int] = field(default_factory=dict)

    def add(self, reason: str, count: int) -> None:
        """Count rows that are left out."""
        if count:
            self.reasons[reason] = self.reasons.get(reason, 0) + count

    def __str__(self) -> str:
        """One line; empty if no row was left out."""
        if not self.reasons:
            return ""
        listed = ", ".join(f"{reason} ({count:,})" for reason, count in self.reasons.items())
        return f"{self.path}: {sum(self.reasons.values()):,} of {self.rows:,} rows left out: {listed}"


def field_of(condition: Condition, columns: Sequence[str]) -> str | None:
    """The column that a condition is about: its whole path, or the part before the first dot."""
    return next((name for name in (condition.path, condition.path.partition(".")[0]) if name in columns), None)


def check_conditions(path: Path, form: FileForm, columns: Sequence[str]) -> list[str]:
    """The columns that the conditions need.

    Raises:
        ClicksError: the file lacks one.
    """
    needed: list[str] = []
    for condition in form.where:
        name = field_of(condition, columns)
        if name is None:
            raise ClicksError(f"{path} has no column {condition.path}, as --where {condition} says: it has "
                              f"{', '.join(columns)}")  # fmt: skip
        if columns.count(name) > 1:
            raise ClicksError(f"{path} has two columns {name}: name one of them otherwise")
        needed.append(name)
    return needed


def matches(condition: Condition, rows: pl.LazyFrame) -> pl.Expr:
    """Whether a row meets a condition; a null does not.

    Raises:
        ClicksError: the column has no such field, or its values are lists or structures.
    """
    schema = rows.collect_schema()
    name = field_of(condition, schema.names())
    assert name is not None
    value: pl.Expr = pl.col(name)
    dtype: pl.DataType = schema[name]
    for part in condition.path.removeprefix(name).split(".")[1:]:
        fields: dict[str, Any] = dict(dtype.to_schema()) if isinstance(dtype, pl.Struct) else {}
        if part not in fields:
            raise ClicksError(f"--where {condition}: {name} is {dtype}, which has no field {part}")
        value, dtype = value.struct.field(part), fields[part]
    if dtype.is_nested():
        raise ClicksError(f"--where {condition}: {condition.path} is {dtype}, and conditions compare texts and numbers")
    text = value.cast(pl.String).str.strip_chars()
    return text.is_in(condition.values).fill_null(False)


def select_rows(rows: pl.LazyFrame, form: FileForm, path: Path, left_out: LeftOut) -> pl.LazyFrame:
    """The rows that meet all conditions; the others are counted.

    Raises:
        ClicksError: no row meets a condition.
    """
    for condition in form.where:
        meets = matches(condition, rows)
        total, kept = rows.select(pl.len(), meets.sum().alias("kept")).collect(engine="streaming").row(0)
        if total and not kept:
            name = field_of(condition, rows.collect_schema().names())
            known = rows.select(pl.col(str(name)).cast(pl.String).unique()).head(_KNOWN_SHOWN).collect().to_series()
            raise ClicksError(
                f"{path} has no row with {condition}: {name} is {', '.join(map(str, known.drop_nulls().sort()))}"
            )
        left_out.add(f"not {condition}", total - kept)
        rows = rows.filter(meets)
    return rows


def faults_of(ids: Sequence[str], time: Times | None, untimed: bool, hint: str = "") -> list[Fault]:
    """The faults that a row can have.

    Args:
        ids: names of the id columns; the frame has the ids as read under these names.
        time: how the times were read, as column `timestamp`, with `given`; None if the file has no times.
        untimed: no row has a time: then the row order counts.
        hint: what else may help, as the end of a sentence.
    """
    advice = HELP + hint
    faults = [Fault(name, pl.col(name).is_null(), "is null or empty", advice) for name in ids]
    if time is None or untimed:
        return faults
    value, given = pl.col("timestamp"), pl.col("given")
    return [
        *faults,
        Fault(
            "timestamp",
            ~given,
            "is null",
            f"give every click its time, or none (then the rows are taken to be in click order); {advice}",
        ),
        Fault(
            "timestamp",
            given & value.is_null(),
            "is not in milliseconds since 1970 UTC, nor another time with one meaning",
            f"`nextclick import csv --time-format` says how times are written; {advice}",
        ),
        Fault(
            "timestamp",
            given & ((value < 0) | (value > MAX_TIMESTAMP)),
            "lies outside 1970 to 9999",
            f"write milliseconds since 1970 UTC; {advice}",
        ),
    ]


def valid_rows(
    rows: pl.LazyFrame, faults: Sequence[Fault], form: FileForm, left_out: LeftOut, place: Callable[[int], str]
) -> pl.LazyFrame:
    """The rows without a fault.

    Args:
        rows: has the rows' numbers, the columns of the faults, and `raw COLUMN`, the value as it stands in the file.
        faults: in the order in which they are looked for.
        form: whether rows with a fault are left out, or refused.
        left_out: counts the rows that are left out.
        place: where a row stands in the file.

    Raises:
        ClicksError: a row has a fault, and the form does not say to leave it out.
    """
    if not rows.select(pl.any_horizontal(fault.wrong for fault in faults).any()).collect(engine="streaming").item():
        return rows
    reason = pl.lit(None, pl.Int32)
    for number, fault in reversed(list(enumerate(faults))):
        reason = pl.when(fault.wrong).then(pl.lit(number, pl.Int32)).otherwise(reason)
    total = pl.len()
    counts = [reason.eq(number).sum().alias(f"count {number}") for number in range(len(faults))]
    firsts = [pl.col(ROW).filter(reason == number).min().alias(f"row {number}") for number in range(len(faults))]
    found = rows.select(total.alias("total"), *counts, *firsts).collect(engine="streaming").row(0, named=True)
    for number, fault in enumerate(faults):
        count, row = found[f"count {number}"], found[f"row {number}"]
        if not count:
            continue
        raw = rows.filter(pl.col(ROW) == row).select(f"raw {fault.column}").collect().item()
        if not form.skip_invalid:
            raise ClicksError(_refusal(left_out.path, fault, count, found["total"], place(row), raw))
        shown = "" if raw is None else f": {raw!r}"
        left_out.add(f"{fault.column} {fault.what}, first in {place(row)}{shown}", count)
    if sum(found[f"count {number}"] for number in range(len(faults))) == found["total"]:
        raise ClicksError(f"{left_out.path} holds no clicks: {left_out}")
    return rows.filter(reason.is_null())


def _refusal(path: Path, fault: Fault, count: int, total: int, place: str, raw: object) -> str:
    if not fault.what.startswith("is null"):
        more = f" ({count:,} of {total:,} clicks are like that)" if count > 1 else ""
        return f"{path}, {place}: {fault.column} {raw!r} {fault.what}{more}: {fault.help}"
    first = f"the first is {place}" + ("" if raw is None else f": {raw!r}")
    if fault.column == "timestamp":
        return f"{path}: {fault.column} {fault.what} in {count} of {total} clicks: {fault.help} ({first})"
    return f"{path}: {fault.column} {fault.what} in {count} of {total} clicks ({first}): {fault.help}"
