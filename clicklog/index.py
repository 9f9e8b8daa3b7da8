"""A click log of any length as sessions ready to train on: rows of items, cut by `clicklog.sessions.begins`.

The clicks of a session id lie in one partition of the topic, so partitions are cut one after another; of a click there
remain 4 bytes for its item.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from clicklog.items import ItemIndex
from clicklog.log import ClickLog
from clicklog.sessions import Sessions, begins
from schemas.errors import TrainingError


@dataclass(frozen=True)
class Indexed:
    """A log made ready to train on.

    Attributes:
        index: the items that are left, the most clicked first.
        sessions: in the order of their first click.
        first: earliest click time of the log, ms since 1970 UTC.
        last: latest.
        clicks: of the log, before rare items and short sessions were dropped.
    """

    index: ItemIndex
    sessions: Sessions
    first: int
    last: int
    clicks: int


def index_log(log: ClickLog, gap_ms: int, min_support: int = 5, min_length: int = 2) -> Indexed:
    """Cut a log into sessions and index its items, dropping rare items and short sessions until none is left.

    Args:
        log: any span; never in memory as a whole.
        gap_ms: the longest silence within a session.
        min_support: fewest clicks of an item.
        min_length: fewest clicks of a session.

    Raises:
        TrainingError: nothing is left.
    """
    counts: pl.DataFrame | None = None
    for part in log.partitions():
        of_part = part.group_by("item_id").len("support").collect(engine="streaming")
        counts = of_part if counts is None else pl.concat([counts, of_part])
    if counts is None:
        raise TrainingError(f"{log.source} holds no click: widen the span")
    items = counts.group_by("item_id").agg(pl.col("support").sum()).filter(pl.col("support") >= min_support)
    items = items.sort(["support", "item_id"], descending=[True, False]).drop("support").with_row_index("row")
    items = items.with_columns(pl.col("row").cast(pl.Int32))

    rows, lengths, starts = [], [], []
    clicks, first, last = 0, None, None
    for part in log.partitions():
        ordered = (
            part.select("session_id", "timestamp", "item_id")
            .join(items.lazy(), on="item_id", how="left", maintain_order="left")
            .drop("item_id")
            .collect()
        )
        if ordered.is_empty():
            continue
        # A stable sort by session keeps the order of arrival.
        ordered = ordered.sort("session_id", maintain_order=True)
        row, moment = ordered["row"].fill_null(-1).to_numpy(), ordered["timestamp"].to_numpy()
        clicks += len(row)
        first = min(first if first is not None else int(moment.min()), int(moment.min()))
        last = max(last if last is not None else int(moment.max()), int(moment.max()))
        at = np.flatnonzero(begins(ordered, gap_ms))
        kept = row >= 0
        rows.append(row[kept])
        lengths.append(np.add.reduceat(kept, at, dtype=np.int32))
        starts.append(moment[at])
        del ordered
    row, length, start = (np.concatenate(parts) for parts in (rows, lengths, starts))
    del rows, lengths, starts
    row, length, start = _until_stable(row, length, start, len(items), min_support, min_length)
    if not len(row):
        raise TrainingError(
            f"none of {clicks} clicks is left with item support ≥ {min_support} and session length ≥ {min_length}: "
            "train on more clicks, or lower --min-support"
        )
    support = np.bincount(row, minlength=len(items))
    by_support = np.argsort(-support, kind="stable")[: np.count_nonzero(support)]
    place = np.full(len(items), -1, dtype=np.int32)
    place[by_support] = np.arange(len(by_support), dtype=np.int32)
    ids = items["item_id"].gather(by_support).to_list()
    offsets = np.concatenate([[0], np.cumsum(length, dtype=np.int64)])
    order = np.argsort(start, kind="stable")
    sessions = _in_order(place[row], offsets, order)
    assert first is not None
    assert last is not None
    return Indexed(ItemIndex(ids, support[by_support].astype(np.int64)), sessions, first, last, clicks)


def _until_stable(
    row: NDArray[np.int32],
    length: NDArray[np.int32],
    start: NDArray[np.int64],
    items: int,
    min_support: int,
    min_length: int,
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int64]]:
    """Drop short sessions and rare items, over and over until nothing more is dropped."""
    while True:
        long = length >= min_length
        if not long.all():
            row, length, start = row[np.repeat(long, length)], length[long], start[long]
        kept = np.bincount(row, minlength=items)[row] >= min_support if len(row) else np.ones(0, dtype=bool)
        if kept.all():
            return row, length, start
        offsets = np.concatenate([[0], np.cumsum(length[:-1], dtype=np.int64)])
        length = np.add.reduceat(kept, offsets, dtype=np.int32)
        row = row[kept]


def _in_order(row: NDArray[np.int32], offsets: NDArray[np.int64], order: NDArray[np.int64]) -> Sessions:
    """The sessions in another order."""
    length = np.diff(offsets)[order]
    ordered = np.concatenate([[0], np.cumsum(length)])
    shift = np.repeat(offsets[order] - ordered[:-1], length)
    shift += np.arange(len(row))
    return Sessions(row[shift].astype(np.int64), ordered.astype(np.int64))
