"""Session and item ids of a file: which texts are numbers, and which are no id at all."""

from pathlib import Path

import polars as pl

from clicklog.reading.facts import Facts, holds_for_all
from clicklog.reading.numbers import SAMPLE, has_numbers, number_of
from schemas.errors import ClicksError

NO_VALUE = (
    "", "NULL", "Null", "null", r"\N", "NaN", "nan", "NAN", "NA", "<NA>", "N/A", "n/a", "#N/A", "NaT", "None", "none",
    "NONE", "nil", "(null)", "<null>", "undefined",
)  # fmt: skip
"""Texts that databases, spreadsheets, data frames and browsers write where there is no value."""

_LONGEST_MARK = max(map(len, NO_VALUE))

EXACT = 2**53
"""A float holds every whole number below this one; it may be the rounded form of the one above."""

ROUNDED = r"^-?\d(?:\.\d{5}[eE]\+(?:0[6-9]|[1-9]\d)|(?:\.\d{1,4})?E\+(?:1[1-9]|[2-9]\d))$"
"""`2.14537E+11`: a number as spreadsheets and `%g` write it, with six digits at most. Its other digits are lost."""

_SPACES = (" ", "\t", "\u00a0")

_DECIMAL = r"^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$"


def has_value(text: pl.Expr) -> pl.Expr:
    """Whether a text is a value, and not a mark of a missing one."""
    return text.is_not_null() & ~text.is_in(NO_VALUE)


def first_id_questions(rows: pl.LazyFrame, column: str) -> tuple[pl.Expr, ...]:
    """What `id_expression` asks first about texts of a delimited file: whether all of them are whole numbers."""
    if not has_numbers(rows, column):
        return ()
    text, number = pl.col(column), number_of(rows, column)
    return _unread(text, number), holds_for_all(_same(text, number), text)


def id_expression(facts: Facts, column: str, path: Path, *, delimited: bool) -> pl.Expr:
    """The ids of a column as Int64 or String, null where a row has none.

    Numbers that a tool wrote as `123.0` are whole numbers if all ids of the column are. `007` is a text: 7 is another
    item.

    Args:
        facts: about the rows of the file.
        column: of the ids.
        path: of the file, for errors.
        delimited: the texts come from a delimited file: then whole numbers are numbers, and spaces around are no part.

    Raises:
        ClicksError: the column cannot hold ids.
    """
    dtype = facts.rows.collect_schema()[column]
    values = pl.col(column)
    if dtype.is_integer():
        return _fits(facts, values, path)
    if dtype.is_float() or dtype.is_decimal():
        return _whole(facts, values, dtype, path)
    if dtype == pl.Binary:
        values = values.cast(pl.String, strict=False)
    elif dtype in (pl.Categorical, pl.Enum):
        values = values.cast(pl.String)
    elif dtype == pl.Null:
        return values.cast(pl.String)
    elif dtype != pl.String:
        raise ClicksError(f"{path}: {column} is {dtype}: ids are whole numbers or texts")
    return _of_texts(facts, values, path, delimited)


def _of_texts(facts: Facts, text: pl.Expr, path: Path, delimited: bool) -> pl.Expr:
    if delimited:
        name = text.meta.output_name()
        number = number_of(facts.rows, name)
        if (
            has_numbers(facts.rows, name)
            and not facts.of(_unread(text, number))[0]
            and facts.all(_same(text, number), text)
        ):
            return number  # most files: nothing else is looked at
        spaced = (at(sign).any() for sign in _SPACES for at in (text.str.starts_with, text.str.ends_with))
        if any(facts.of(*spaced)):  # faster than to strip all of them
            text = text.str.strip_chars()
    marks = text.filter(text.str.len_bytes() <= _LONGEST_MARK).is_in(NO_VALUE).any()
    value = pl.when(has_value(text)).then(text) if facts.of(marks)[0] else text
    decimal = value.str.contains(_DECIMAL)
    head = facts.rows.select(decimal.alias("decimal")).head(SAMPLE)
    if not head.collect()["decimal"].all() or not facts.all(decimal, value):
        return value
    whole_number = value.cast(pl.Int64, strict=False)
    if delimited and facts.all(_same(value, whole_number), value):
        return whole_number
    number = value.cast(pl.Float64, strict=False)
    whole = number.floor() == number
    if not facts.of(value.str.contains(r"[.eE]").any())[0] or not facts.all(whole, value):
        return value
    rounded = facts.first(value, value.str.contains(ROUNDED))
    if rounded is not None:
        raise ClicksError(
            f"{path}: {text.meta.output_name()} {rounded} is rounded to six digits, as a spreadsheet does, so that "
            "different ids have become one: write the file anew, with ids as whole numbers or as texts"
        )
    large = facts.first(value, number.abs() >= EXACT)
    if large is not None:
        raise ClicksError(
            f"{path}: {text.meta.output_name()} {large} is written as a floating-point number, which does not hold all "
            "of its digits: write ids as whole numbers or as texts"
        )
    return number.cast(pl.Int64, strict=False)


def _unread(text: pl.Expr, number: pl.Expr) -> pl.Expr:
    """Whether some text is no whole number."""
    return number.null_count() > text.null_count()


def _same(text: pl.Expr, number: pl.Expr) -> pl.Expr:
    """Whether a text is how its number is written: 007 is not."""
    return number.cast(pl.String) == text


def _fits(facts: Facts, values: pl.Expr, path: Path) -> pl.Expr:
    ids = values.cast(pl.Int64, strict=False)
    too_large = facts.of(ids.null_count() - values.null_count())[0]
    if too_large:
        name = values.meta.output_name()
        raise ClicksError(f"{path}: {too_large} values of {name} do not fit in 64 bits: write them as text")
    return ids


def _whole(facts: Facts, values: pl.Expr, dtype: pl.DataType, path: Path) -> pl.Expr:
    """Ids of a column of floats or decimals, as data frames make them where a value is missing."""
    number = values.cast(pl.Float64).fill_nan(None)
    exact = 2**24 if dtype == pl.Float32 else EXACT
    wrong = facts.first(number, ~((number.floor() == number) & (number.abs() < exact)))
    if wrong is not None:
        raise ClicksError(
            f"{path}: {values.meta.output_name()} is {dtype}: ids are whole numbers or texts, and {wrong} is "
            "neither, or has more digits than its type holds"
        )
    return number.cast(pl.Int64)
