"""Clicks as one table, wherever they were read from: a file, the clicks topic, or archive and topic."""

from dataclasses import dataclass, field

import polars as pl

IDS = ("session_id", "item_id")
COLUMNS = (*IDS, "timestamp")


@dataclass(frozen=True)
class Clicks:
    """Clicks in the order they were read.

    Attributes:
        frame: columns session_id, item_id (Int64 or String each) and timestamp (Int64 ms, all null where unknown).
        source: the file or topic they came from, or the topic with its archive.
        offsets: for a topic, partition → first offset read and the one after the last.
        skipped: messages of the topic that were no valid click.
        repeated: clicks that were on the topic twice in a row, as a producer that tries again writes them; left out.
    """

    frame: pl.DataFrame
    source: str
    offsets: dict[int, tuple[int, int]] = field(default_factory=dict)
    skipped: int = 0
    repeated: int = 0


def without_repetitions(frame: pl.DataFrame) -> pl.DataFrame:
    """Leave out a click that equals its session's click before it, time and all.

    That is what a producer without idempotence leaves on the topic when it tries again.
    """
    same = [pl.col(name).eq_missing(pl.col(name).shift(1).over("session_id")) for name in ("item_id", "timestamp")]
    return frame.filter(~pl.all_horizontal(same))
