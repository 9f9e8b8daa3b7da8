"""Clicks from a Parquet or CSV file.

Columns: session_id and item_id (integers or strings), timestamp (ms since 1970 UTC, or null in all rows: then the row
order is the click order), and optionally split.
"""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from clicklog.clicks import COLUMNS, IDS, Clicks, exact_numbers
from schemas.click import MAX_TIMESTAMP
from schemas.errors import ClicksError


def read_click_file(path: Path, splits: Sequence[str] = ()) -> Clicks:
    """Read a file of clicks.

    Args:
        path: ends in .parquet or .csv (.csv.gz, .csv.zst).
        splits: keep only the rows of these splits; all rows if empty.

    Raises:
        ClicksError: the file is missing or unreadable, lacks a column, has no such split, has no click, or a value
            is not a valid id or time.
    """
    frame = _open(path)
    missing = [name for name in COLUMNS if name not in frame.columns]
    if missing:
        raise ClicksError(
            f"{path} has no column {', '.join(missing)} (it has {', '.join(frame.columns)}): "
            "a clicks file has session_id, item_id, timestamp and optionally split"
        )
    if splits:
        frame = _select_splits(frame, splits, path)
    if frame.is_empty():
        raise ClicksError(f"{path} holds no clicks{' in split ' + ', '.join(splits) if splits else ''}")
    frame = frame.select(*(_ids(frame[name], path) for name in IDS), _timestamps(frame["timestamp"], path))
    return Clicks(frame, source=str(path))


def _open(path: Path) -> pl.DataFrame:
    if not path.exists():
        raise ClicksError(f"{path} does not exist: give a .parquet or .csv file of clicks")
    kinds = [suffix.lower() for suffix in path.suffixes]
    wanted = (*COLUMNS, "split")
    try:
        if ".parquet" in kinds or ".pq" in kinds:
            names = pl.read_parquet_schema(path)
            return pl.read_parquet(path, columns=[name for name in wanted if name in names] or None)
        if ".csv" in kinds:
            frame = pl.read_csv(path, infer_schema=False)
            return frame.with_columns(exact_numbers(frame[name]) for name in IDS if name in frame.columns)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise ClicksError(f"{path} cannot be read: {error}") from error
    raise ClicksError(f"{path} is neither .parquet nor .csv: convert it to one of them")


def _select_splits(frame: pl.DataFrame, splits: Sequence[str], path: Path) -> pl.DataFrame:
    if "split" not in frame.columns:
        raise ClicksError(f"{path} has no column split: leave out --split, or add the column")
    split = frame["split"].cast(pl.String)
    known = split.drop_nulls().unique().sort().to_list()
    unknown = [name for name in splits if name not in known]
    if unknown:
        raise ClicksError(f"{path} has no split {', '.join(map(repr, unknown))}: it has {', '.join(known) or 'none'}")
    return frame.filter(split.is_in(list(splits)))


def _ids(column: pl.Series, path: Path) -> pl.Series:
    """Integer columns as Int64, string columns as String."""
    if column.dtype.is_integer():
        ids = column.cast(pl.Int64, strict=False)
        too_large = ids.null_count() - column.null_count()
        if too_large:
            raise ClicksError(f"{path}: {too_large} values of {column.name} do not fit in 64 bits: write them as text")
    elif column.dtype in (pl.String, pl.Categorical, pl.Enum):
        text = column.cast(pl.String)
        ids = text.set(text == "", None)
    else:
        raise ClicksError(f"{path}: {column.name} is {column.dtype}: ids are whole numbers or texts")
    if ids.null_count():
        row = int(ids.is_null().arg_max() or 0)
        raise ClicksError(
            f"{path}: {column.name} is null or empty in {ids.null_count()} of {len(ids)} clicks (the first is click "
            f"{row + 1}): remove these rows"
        )
    return ids


def _timestamps(column: pl.Series, path: Path) -> pl.Series:
    if isinstance(column.dtype, pl.Datetime):
        times = column.dt.epoch("ms")
    elif column.dtype.is_integer() or column.dtype in (pl.String, pl.Null):
        source = column.set(column == "", None) if column.dtype == pl.String else column
        times = source.cast(pl.Int64, strict=False)
        if times.null_count() > source.null_count():
            wrong = source.filter(times.is_null() & source.is_not_null())[0]
            raise ClicksError(f"{path}: timestamp {wrong!r} is not in milliseconds since 1970")
    else:
        raise ClicksError(f"{path}: timestamp is {column.dtype}: write whole milliseconds since 1970 UTC")
    if 0 < times.null_count() < len(times):
        raise ClicksError(
            f"{path}: timestamp is null in {times.null_count()} of {len(times)} clicks: give every click its time, or "
            "none (then the rows are taken to be in click order)"
        )
    outside = times.filter((times < 0) | (times > MAX_TIMESTAMP))
    if len(outside):
        raise ClicksError(
            f"{path}: timestamp {outside[0]} lies outside 1970 to 9999: write milliseconds since 1970 UTC"
        )
    return times
