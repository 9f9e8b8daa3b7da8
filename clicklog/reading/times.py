"""Times of a file as milliseconds since 1970 UTC: the unit of numbers, and the forms of texts.

A number says its unit itself, for clicks of the years 2001 to 2286: `1396873412` is a second of 2014, and would be a
millisecond of January 1970. A column is read in another unit than milliseconds only if all of its values say so.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import polars as pl

from clicklog.reading.facts import Facts
from clicklog.reading.ids import has_value
from clicklog.reading.numbers import number_of
from clicklog.reading.time_forms import form_of
from schemas.click import FIRST_SECOND, LAST_SECOND, MAX_TIMESTAMP
from schemas.errors import ClicksError

TimeFormat = Literal["auto", "iso", "ms", "s"]

SURE_MILLISECONDS = 100_000_000_000
"""From here on, in 1973, a number in a file of real times is in milliseconds."""

_UNITS = {"microseconds": (10**15, 10**16 - 1, 1000), "nanoseconds": (10**18, 2**63 - 1, 1_000_000)}
_COMPACT = (19_900_101_000_000, 21_000_101_000_000)
"""`20191001235959`: as milliseconds these are the years 2600 to 2635."""

_MOST_FORMS = 6


@dataclass(frozen=True)
class Times:
    """A column of times.

    Attributes:
        value: ms since 1970 UTC as Int64; null where there is no time, or none that can be read.
        given: whether the row has a value at all.
        note: what the user must know about how the times were read; empty if there is nothing.
    """

    value: pl.Expr
    given: pl.Expr
    note: str = ""


def first_time_questions(rows: pl.LazyFrame, column: str) -> tuple[pl.Expr, ...]:
    """What `time_expression` asks first about texts of a delimited file: whether all are whole numbers, and which."""
    number = number_of(rows, column)
    return (_unread(pl.col(column), number), *_span(number))


def time_expression(facts: Facts, column: str, path: Path, how: TimeFormat = "auto") -> Times:
    """How the times of a column are read.

    Args:
        facts: about the rows of the file.
        column: of the times.
        path: of the file, for errors.
        how: the unit of numbers, or ISO 8601; auto: found out from the values.

    Raises:
        ClicksError: the column cannot hold times.
    """
    dtype = facts.rows.collect_schema()[column]
    values = pl.col(column)
    if isinstance(dtype, pl.Datetime):
        return Times(values.dt.epoch("ms"), values.is_not_null())
    if dtype == pl.Null:
        return Times(values.cast(pl.Int64), values.is_not_null())
    if dtype.is_integer():
        value, unit = _of_whole_numbers(facts, values.cast(pl.Int64, strict=False), how)
        return Times(value, values.is_not_null(), _note(path, column, unit))
    if dtype.is_float() or dtype.is_decimal():
        number = values.cast(pl.Float64).fill_nan(None)
        found = _unit_of_decimals(facts, number, how)
        if found is None:
            raise ClicksError(f"{path}: {column} is {dtype}: write whole milliseconds since 1970 UTC")
        return Times(_scaled(number, found), number.is_not_null(), _note(path, column, found))
    if dtype != pl.String:
        raise ClicksError(f"{path}: {column} is {dtype}: write whole milliseconds since 1970 UTC")
    return _of_texts(facts, values, path, how)


def _of_texts(facts: Facts, text: pl.Expr, path: Path, how: TimeFormat) -> Times:
    column = text.meta.output_name()
    number = number_of(facts.rows, column)
    if how != "iso" and not facts.of(_unread(text, number))[0]:
        value, unit = _of_whole_numbers(facts, number, how)  # most files: nothing else is looked at
        return Times(value, text.is_not_null(), _note(path, column, unit))
    text = text.str.strip_chars()
    text = pl.when(has_value(text)).then(text)
    readings, unit = [], "milliseconds"
    if how != "iso":
        value, unit = _of_whole_numbers(facts, text.cast(pl.Int64, strict=False), how)
        readings.append(value)
        decimal = text.cast(pl.Float64, strict=False)
        fraction = pl.when(text.str.contains(".", literal=True)).then(decimal)
        if facts.of(fraction.is_not_null().any())[0]:
            of_decimals = _unit_of_decimals(facts, decimal, how)
            if of_decimals is not None:
                unit = of_decimals
                readings.append(_scaled(fraction, unit))
    readings += _forms(facts, text, readings)
    note = _note(path, column, unit) if how == "auto" else ""
    return Times(_first_known(readings), text.is_not_null(), note)


def _forms(facts: Facts, text: pl.Expr, readings: list[pl.Expr]) -> list[pl.Expr]:
    """The forms of the texts that the other readings leave unread, as far as they are known."""
    found: list[pl.Expr] = []
    while len(found) < _MOST_FORMS:
        known = _first_known([*readings, *found])
        sample = facts.first(text, text.is_not_null() & known.is_null() & ~text.str.contains(r"^-?\d+$"))
        form = None if sample is None else form_of(sample, text)
        if form is None or any(form.meta.eq(other) for other in found):
            return found
        found.append(form)
    return found


def _first_known(readings: list[pl.Expr]) -> pl.Expr:
    return pl.coalesce(readings) if readings else pl.lit(None, pl.Int64)


def _of_whole_numbers(facts: Facts, number: pl.Expr, how: TimeFormat) -> tuple[pl.Expr, str]:
    """The numbers in milliseconds, and their unit."""
    if how in ("ms", "s"):
        unit = "milliseconds" if how == "ms" else "seconds"
        return _scaled(number, unit), "milliseconds"  # the user said it: there is nothing to note
    least, most = facts.of(*_span(number))
    if least is None or SURE_MILLISECONDS <= least <= most < _COMPACT[0]:
        return number, "milliseconds"
    if _COMPACT[0] <= least and most < _COMPACT[1]:
        moment = number.cast(pl.String).str.to_datetime("%Y%m%d%H%M%S", strict=False, time_unit="ms").dt.epoch("ms")
        return moment, "the form YYYYMMDDhhmmss"
    for unit, (low, high, _) in _UNITS.items():
        if low <= least and most <= high:
            return _scaled(number, unit), unit
    counts = (number == 0).sum(), number.is_between(FIRST_SECOND, LAST_SECOND).sum(), number.count()
    zeros, seconds, given = facts.of(*counts)
    if seconds and zeros + seconds == given:
        return pl.when(number != 0).then(_scaled(number, "seconds")), "seconds"
    real = facts.of(number.is_between(SURE_MILLISECONDS, MAX_TIMESTAMP).any())[0]
    early = number.is_between(0, LAST_SECOND)  # among real times these are of January to April 1970: no time of a click
    return (pl.when(~early).then(number) if real else number), "milliseconds"


def _unit_of_decimals(facts: Facts, number: pl.Expr, how: TimeFormat) -> str | None:
    """Seconds or milliseconds; None if the numbers do not tell."""
    if how in ("ms", "s"):
        return "milliseconds" if how == "ms" else "seconds"
    least, most = facts.of(*_span(number))
    if least is None or (least >= SURE_MILLISECONDS and most <= MAX_TIMESTAMP):
        return "milliseconds"
    return "seconds" if least >= FIRST_SECOND and most < LAST_SECOND + 1 else None


def _scaled(number: pl.Expr, unit: str) -> pl.Expr:
    if unit == "seconds":
        return (number * 1000).round().cast(pl.Int64, strict=False)
    if unit in _UNITS:
        return number // _UNITS[unit][2]
    return number.round().cast(pl.Int64, strict=False)


def _note(path: Path, column: str, unit: str) -> str:
    return "" if unit == "milliseconds" else f"{path}: {column} is in {unit}, and is read so"


def _unread(text: pl.Expr, number: pl.Expr) -> pl.Expr:
    """Whether some text is no whole number."""
    return number.null_count() > text.null_count()


def _span(number: pl.Expr) -> tuple[pl.Expr, pl.Expr]:
    return number.min(), number.max()
