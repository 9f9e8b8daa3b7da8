"""Clicks as one table, read from a file, from the clicks topic, or from archive and topic."""

from dataclasses import dataclass, field

import polars as pl

IDS = ("session_id", "item_id")
COLUMNS = (*IDS, "timestamp")


@dataclass(frozen=True)
class Clicks:
    """Clicks in the order they were read.

    Attributes:
        frame: columns session_id, item_id (Int64 or String each) and timestamp (Int64 ms, all null where unknown).
        source: the file or topic that they were read from, or the topic with its archive.
        offsets: for a topic, partition → first offset that was read and the offset after the last.
        skipped: messages of the topic that were not valid clicks.
        repeated: clicks left out because they repeat the session's click before them, as after a producer's retry.
        notes: what the user must be told of a file: rows that were left out, and times in another unit.
    """

    frame: pl.DataFrame
    source: str
    offsets: dict[int, tuple[int, int]] = field(default_factory=dict)
    skipped: int = 0
    repeated: int = 0
    notes: tuple[str, ...] = ()


def exact_numbers(texts: pl.Series) -> pl.Series:
    """A String column as Int64 if that changes no text, by the rule of `schemas.click.canonical_id`; else unchanged."""
    if texts.dtype != pl.String:
        return texts
    numbers = texts.cast(pl.Int64, strict=False)
    exact = numbers.null_count() == texts.null_count() and (numbers.cast(pl.String) == texts).all()
    return numbers if exact else texts


def without_repetitions(frame: pl.DataFrame) -> pl.DataFrame:
    """Leave out clicks whose item and timestamp equal those of the session's click before.

    A producer without idempotence writes them when it retries.
    """
    same = [pl.col(name).eq_missing(pl.col(name).shift(1).over("session_id")) for name in ("item_id", "timestamp")]
    return frame.filter(~pl.all_horizontal(same))
