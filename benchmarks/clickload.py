"""Clicks to send: the sessions of a file, again and again under new ids, hundreds of them open at the same time."""

import time
from itertools import chain, islice, repeat

import polars as pl

OPEN_SESSIONS = 500


def interleaved(frame: pl.DataFrame, clicks: int, open_sessions: int = OPEN_SESSIONS) -> pl.DataFrame:
    """A table of `clicks` clicks in which every session keeps its order and `open_sessions` take turns.

    Timestamps are a millisecond apart and end now, so that each click has its own.

    Args:
        frame: columns session_id, item_id and timestamp, as `trainer.clicks` reads them.
        clicks: how many rows to make.
        open_sessions: once a session is over, the next one takes its place.
    """
    grouped = frame.sort("timestamp", maintain_order=True).group_by("session_id", maintain_order=True)
    sessions = grouped.agg("item_id")["item_id"].to_list()
    supply = enumerate(chain.from_iterable(repeat(sessions)), start=1)
    open_now = [(number, iter(items)) for number, items in islice(supply, open_sessions)]
    session_ids: list[int] = []
    item_ids: list[int | str] = []
    while len(item_ids) < clicks:
        for place, (number, items) in enumerate(open_now):
            item = next(items, None)
            while item is None:
                number, items = next(supply)
                items = iter(items)
                open_now[place] = (number, items)
                item = next(items, None)
            session_ids.append(number)
            item_ids.append(item)
    first = time.time_ns() // 1_000_000 - clicks
    return pl.DataFrame(
        {
            "session_id": session_ids[:clicks],
            "item_id": item_ids[:clicks],
            "timestamp": pl.int_range(first, first + clicks, eager=True),
        }
    )
