"""Columns of texts as numbers: cast once, and used to find out what the texts are."""

from collections.abc import Sequence

import polars as pl

_SUFFIX = " as a number"

SAMPLE = 1000
"""So many of the first rows say what a column of texts most likely holds."""


def with_numbers(rows: pl.LazyFrame, columns: Sequence[str]) -> pl.LazyFrame:
    """Add each column as Int64, null where a text is no whole number; not those whose first rows are other texts."""
    numbers = {name: pl.col(name).cast(pl.Int64, strict=False) for name in columns}
    other = (number.null_count() > pl.col(name).null_count() for name, number in numbers.items())
    found = rows.select(columns).head(SAMPLE).select(other).collect()
    kept = (name for name in columns if not found[name].item())
    return rows.with_columns(numbers[name].alias(name + _SUFFIX) for name in kept)


def has_numbers(rows: pl.LazyFrame, column: str) -> bool:
    """Whether `with_numbers` added this column."""
    return column + _SUFFIX in rows.collect_schema()


def number_of(rows: pl.LazyFrame, column: str) -> pl.Expr:
    """A column as Int64, from `with_numbers` where the rows have it."""
    return pl.col(column + _SUFFIX) if has_numbers(rows, column) else pl.col(column).cast(pl.Int64, strict=False)


def is_number_column(name: str) -> bool:
    """Whether `with_numbers` made a column."""
    return name.endswith(_SUFFIX)
