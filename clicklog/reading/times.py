"""Times of a file as milliseconds since 1970 UTC: the unit of numbers, and the forms of texts.

A number says its unit itself, for clicks of the years 2001 to 2286: `1396873412` is a second of 2014, and would be a
millisecond of January 1970. A column is read in another unit than milliseconds only if all of its values say so.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import polars as pl

from clicklog.reading.facts import Facts
from clicklog.reading.ids import ROUNDED, has_value
from clicklog.reading.numbers import number_of
from clicklog.reading.time_forms import form_of
from schemas.click import FIRST_SECOND, LAST_SECOND, MAX_TIMESTAMP
from schemas.errors import ClicksError

TimeFormat = Literal["auto", "iso", "ms", "s"]

SURE_MILLISECONDS = 100_000_000_000
"""From here on, in 1973, a number in a file of real times is in milliseconds."""

_LAST_MARK = 1
"""Among times in seconds, -1, 0 and 1 mark a missing time. Numbers between this and `FIRST_SECOND` show that a log
counts milliseconds from somewhere."""

_FLOAT32_EXACT = 2**24

_UNITS = {"microseconds": (10**15, 10**16 - 1, 1000), "nanoseconds": (10**18, 2**63 - 1, 1_000_000)}
_COMPACT = {
    "YYYYMMDDhhmmss": (19_900_101_000_000, 21_000_101_000_000, "%Y%m%d%H%M%S"),
    "YYYYMMDDhhmm": (199_001_010_000, 210_001_010_000, "%Y%m%d%H%M"),
}
"""`20191001235959` and `201910012359`: as milliseconds these are the years 2600 to 2635, and summer 1976."""

_DAYS = (19_900_101, 21_000_101)
"""`20191001`: a day without a time of day."""

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
        if dtype == pl.Float32 and facts.of((number.abs() > _FLOAT32_EXACT).any())[0]:
            raise ClicksError(f"{path}: {column} is Float32, which rounds a time to minutes: write whole milliseconds")
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
        number = text.cast(pl.Int64, strict=False)
        dated = facts.of(text.str.contains(r"\d:\d").any())[0]
        value, unit = _of_whole_numbers(facts, number, how, dated=bool(dated))
        readings.append(value)
        decimal = pl.when(~text.str.contains(ROUNDED)).then(text).cast(pl.Float64, strict=False)
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


def _of_whole_numbers(facts: Facts, number: pl.Expr, how: TimeFormat, *, dated: bool = False) -> tuple[pl.Expr, str]:
    """The numbers in milliseconds, and their unit; `dated`: the column also has texts with a time of day."""
    if how in ("ms", "s"):
        unit = "milliseconds" if how == "ms" else "seconds"
        return _scaled(number, unit), "milliseconds"  # the user said it: there is nothing to note
    least, most = facts.of(*_span(number))
    if least is None or _COMPACT["YYYYMMDDhhmm"][1] <= least <= most < _COMPACT["YYYYMMDDhhmmss"][0]:
        return number, "milliseconds"
    for name, (low, high, written) in _COMPACT.items():
        if low <= least and most < high:
            moment = number.cast(pl.String).str.to_datetime(written, strict=False, time_unit="ms").dt.epoch("ms")
            return moment, f"the form {name}"
    for unit, (low, high, _) in _UNITS.items():
        if low <= least and most <= high:
            return _scaled(number, unit), unit
    in_seconds = number.is_between(FIRST_SECOND, LAST_SECOND)
    counts = number.is_between(_LAST_MARK + 1, MAX_TIMESTAMP) & ~in_seconds
    seconds, counted = facts.of(in_seconds.any(), counts.any())
    if seconds and not counted:
        return pl.when(in_seconds).then(_scaled(number, "seconds")), "seconds"
    if least >= _DAYS[0] and most < _DAYS[1] and facts.all(_is_day(number), number):
        return pl.lit(None, pl.Int64), "milliseconds"
    real = dated or facts.of(number.is_between(SURE_MILLISECONDS, MAX_TIMESTAMP).any())[0]
    return (pl.when(~_is_no_time(number)).then(number) if real else number), "milliseconds"


def _is_day(number: pl.Expr) -> pl.Expr:
    return number.cast(pl.String).str.to_date("%Y%m%d", strict=False).is_not_null()


def _is_no_time(number: pl.Expr) -> pl.Expr:
    """Whether a number among times in milliseconds is none: of January to April 1970, or in the form of a date."""
    compact = (number.is_between(low, high) for low, high, _ in _COMPACT.values())
    return pl.any_horizontal(number.is_between(0, LAST_SECOND), *compact)


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
