"""Times as texts: the forms that have one meaning. `01/02/2019` has two, and is not among them."""

import re

import polars as pl

_FRACTION = r"(?:[.,]\d+)?"
_NAME = r"(?:\[[^\]]+\]| [A-Z]{2,5})?"  # after an offset, as Java and Go write it
_ZONE = r"\s*(?:[Zz]|UTC|GMT)?(?:\[(?:UTC|GMT|Etc/UTC)\])?"
_OFFSET = r"\s*([+-])(0\d|1[0-8])(?::?([0-5]\d))?"

_FORMS = (
    (rf"\d{{4}}-\d{{2}}-\d{{2}}[T ]\d{{2}}:\d{{2}}:\d{{2}}{_FRACTION}", "%Y-%m-%d %H:%M:%S%.f"),
    (r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}", "%Y-%m-%d %H:%M"),
    (r"\d{4}-\d{2}-\d{2} \d{1,2}:\d{2}:\d{2} [AaPp][Mm]", "%Y-%m-%d %I:%M:%S %p"),
    (rf"\d{{4}}/\d{{1,2}}/\d{{1,2}}[T ]\d{{1,2}}:\d{{2}}:\d{{2}}{_FRACTION}", "%Y/%m/%d %H:%M:%S%.f"),
    (r"\d{4}/\d{1,2}/\d{1,2} \d{1,2}:\d{2}", "%Y/%m/%d %H:%M"),
    (rf"\d{{1,2}}\.\d{{1,2}}\.\d{{4}} \d{{1,2}}:\d{{2}}:\d{{2}}{_FRACTION}", "%d.%m.%Y %H:%M:%S%.f"),
    (r"\d{1,2}\.\d{1,2}\.\d{4} \d{1,2}:\d{2}", "%d.%m.%Y %H:%M"),
    (r"\d{8}T\d{6}", "%Y%m%d %H%M%S"),
    (r"\d{1,2}/[A-Z][a-z]{2}/\d{4}:\d{2}:\d{2}:\d{2}", "%d/%b/%Y:%H:%M:%S"),  # web servers
    (r"[A-Z][a-z]{2}, \d{1,2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2}", "%a, %d %b %Y %H:%M:%S"),  # mail and HTTP
    (r"[A-Z][a-z]{2} [A-Z][a-z]{2} +\d{1,2} \d{2}:\d{2}:\d{2}(?: UTC| GMT)? \d{4}", "%a %b %d %H:%M:%S %Y"),  # Java, C
    (r"\d{1,2}-[A-Z][a-z]{2}-\d{4} \d{2}:\d{2}:\d{2}", "%d-%b-%Y %H:%M:%S"),
)


def form_of(sample: str, text: pl.Expr) -> pl.Expr | None:
    """An expression that reads texts of the sample's form as ms since 1970 UTC, null where a text has another form.

    A time without a zone is taken as UTC.

    Args:
        sample: one of the texts.
        text: the texts to read.

    Returns:
        None if the sample's form is not known, or has several meanings.
    """
    for pattern, written in _FORMS:
        if re.fullmatch(pattern + _ZONE, sample):
            return _moment(text.str.replace(_ZONE + "$", ""), written)
        if re.fullmatch(pattern + _OFFSET + _NAME, sample):
            return _moment(text.str.replace(_OFFSET + _NAME + "$", ""), written) - _offset(text)
    return None


def _moment(text: pl.Expr, written: str) -> pl.Expr:
    if written.startswith("%a %b"):
        text = text.str.replace(r" (?:UTC|GMT) ", " ").str.replace(r" +", " ")
    elif "%b" not in written:
        text = text.str.replace("T", " ", literal=True).str.replace(",", ".", literal=True)
    return text.str.to_datetime(written, strict=False, time_unit="ms").dt.epoch("ms")


def _offset(text: pl.Expr) -> pl.Expr:
    """`+02:00` as milliseconds; null where there is none."""
    parts = text.str.extract_groups(_OFFSET + _NAME + "$").struct
    hours, minutes = (parts.field(name).cast(pl.Int64, strict=False) for name in ("2", "3"))
    size = (hours * 60 + minutes.fill_null(0)) * 60_000
    return pl.when(parts.field("1") == "-").then(-size).otherwise(size)
