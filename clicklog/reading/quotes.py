"""Whether the quote signs of a delimited file enclose its fields."""

from pathlib import Path

import polars as pl

from clicklog.reading.form import QUOTE
from schemas.errors import ClicksError

_SHOWN = 120


def without_quotes(column: str) -> pl.Expr:
    """A column whose fields were read with their quote signs: `"12"` is 12, also in spaces, `12" single` stays."""
    text = pl.col(column)
    stripped = text.str.strip_chars()
    inner = stripped.str.slice(1, stripped.str.len_chars() - 2)
    enclosed = stripped.str.len_bytes().ge(2) & stripped.str.contains(r'^"(?:[^"]|"")*"$')
    return pl.when(enclosed).then(inner.str.replace_all('""', QUOTE, literal=True)).otherwise(text).alias(column)


def check_quotes(
    lines: pl.LazyFrame, path: Path, separator: str, fields: int, sign: str = QUOTE, *, sure: bool = False
) -> None:
    """Check that every quote sign encloses a field, or is doubled inside of one.

    Args:
        lines: column `text`, every line of the file in order.
        path: of the file, for errors.
        separator: between fields.
        fields: number of fields of a row.
        sign: the quote sign.
        sure: the user said that it encloses fields: then a field may hold whole rows.

    Raises:
        ClicksError: a quote sign stands elsewhere, or a field that is enclosed holds whole rows.
    """
    signs = pl.col("text").str.count_matches(sign, literal=True).fill_null(0)
    inside = (signs.cum_sum() - signs) % 2 == 1  # the line begins inside an enclosed field
    records = (
        lines.with_row_index("line", offset=1)
        .with_columns((~inside).cum_sum().alias("record"), signs.alias("signs"))
        .filter((pl.col("signs").sum() > 0).over("record"))
        .group_by("record", maintain_order=True)
        .agg(
            pl.col("line").first(),
            pl.len().alias("lines"),
            pl.col("text").str.count_matches(separator, literal=True).eq(fields - 1).any().alias("whole"),
            pl.col("text").fill_null("").str.join("\n"),
        )
    )
    proper = pl.col("text").str.contains(_record(separator, fields, sign))
    swallowing = (pl.col("lines") > 1) & pl.col("whole") & (not sure)
    found = records.filter(~proper | swallowing).head(1).collect()
    if len(found):
        _, line, count, _, text = found.row(0)
        where = f"lines {line} to {line + count - 1}" if count > 1 else f"line {line}"
        shown = text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
        raise ClicksError(
            f"{path}, {where}: the quote signs have no sure meaning: {shown!r}: add --quote none if they are a part of "
            "the texts, or --quote '\"' if they enclose fields (inside of one they are doubled)"
        )


def _record(separator: str, fields: int, sign: str) -> str:
    parted, quote = rf"\x{ord(separator):02x}", rf"\x{ord(sign):02x}"
    field = rf"(?:[^{quote}\n\r{parted}]*|{quote}(?:[^{quote}]|{quote}{quote})*{quote})"
    return rf"^{field}(?:{parted}{field}){{{fields - 1}}}\r?$"
