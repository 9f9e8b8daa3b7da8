"""Columns of texts as numbers: cast once, and used to find out what the texts are."""

from collections.abc import Sequence

import polars as pl

_SUFFIX = " as a number"


def with_numbers(rows: pl.LazyFrame, columns: Sequence[str]) -> pl.LazyFrame:
    """Add each column as Int64, null where a text is no whole number."""
    numbers = (pl.col(name).cast(pl.Int64, strict=False).alias(name + _SUFFIX) for name in columns)
    return rows.with_columns(*numbers)


def number_of(rows: pl.LazyFrame, column: str) -> pl.Expr:
    """A column as Int64, from `with_numbers` where the rows have it."""
    known = column + _SUFFIX in rows.collect_schema()
    return pl.col(column + _SUFFIX) if known else pl.col(column).cast(pl.Int64, strict=False)


def is_number_column(name: str) -> bool:
    """Whether `with_numbers` made a column."""
    return name.endswith(_SUFFIX)
