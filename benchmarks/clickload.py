"""Clicks to send: the sessions of a file, repeated under new ids, hundreds of them open at the same time."""

import random
import time
from itertools import chain, islice, repeat

import polars as pl

OPEN_SESSIONS = 500


def interleaved(frame: pl.DataFrame, clicks: int, open_sessions: int = OPEN_SESSIONS) -> pl.DataFrame:
    """A table of `clicks` clicks: each click is of a random open session, and every session keeps its order.

    Timestamps are a millisecond apart and end now, so that each click has its own.

    Args:
        frame: columns session_id, item_id and timestamp, as `clicklog.clicks` reads them.
        clicks: how many rows to make.
        open_sessions: number of sessions open at a time; when one ends, the next one begins.
    """
    grouped = frame.sort("timestamp", maintain_order=True).group_by("session_id", maintain_order=True)
    sessions = grouped.agg("item_id")["item_id"].to_list()
    supply = enumerate(chain.from_iterable(repeat(sessions)), start=1)
    open_now = [(number, iter(items)) for number, items in islice(supply, open_sessions)]
    choose = random.Random(0).randrange
    session_ids: list[int] = []
    item_ids: list[int | str] = []
    while len(item_ids) < clicks:
        place = choose(open_sessions)
        number, items = open_now[place]
        item = next(items, None)
        if item is None:
            following, its_items = next(supply)
            open_now[place] = (following, iter(its_items))
            continue
        session_ids.append(number)
        item_ids.append(item)
    first = time.time_ns() // 1_000_000 - clicks
    return pl.DataFrame(
        {
            "session_id": session_ids,
            "item_id": item_ids,
            "timestamp": pl.int_range(first, first + clicks, eager=True),
        }
    )
