"""Sessions: the clicks of one visitor in order, as item rows."""

from dataclasses import dataclass, replace
from typing import overload

import numpy as np
import polars as pl
from numpy.typing import NDArray

from clicklog.clicks import Clicks
from clicklog.items import ItemIndex
from schemas.errors import ClicksError


@dataclass(frozen=True)
class Sessions:
    """Sessions of at least two clicks, concatenated in the order of their first click.

    Attributes:
        items: (N,) int64, the clicked items' rows.
        offsets: (S+1,) int64; session s is `items[offsets[s]:offsets[s+1]]`.
    """

    items: NDArray[np.int64]
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def pairs(self) -> int:
        """The number of events to train or judge on: every click that has a next click."""
        return len(self.items) - len(self)


@overload
def starts_anew(previous_ms: int, click_ms: int, gap_ms: int) -> bool: ...


@overload
def starts_anew(previous_ms: pl.Expr, click_ms: pl.Expr, gap_ms: int) -> pl.Expr: ...


def starts_anew(previous_ms: int | pl.Expr, click_ms: int | pl.Expr, gap_ms: int) -> bool | pl.Expr:
    """Whether the silence before a click is so long that it begins a new session. Training and serving share this rule.

    A click with an earlier timestamp than the click before it is late and does not begin a session.

    Args:
        previous_ms: time of the session's click before, ms since 1970 UTC.
        click_ms: time of the click.
        gap_ms: the longest silence within a session, ms.
    """
    return click_ms - previous_ms > gap_ms


def in_session_order(frame: pl.DataFrame) -> pl.DataFrame:
    """Sort clicks by session and time; sessions by their first click. Equal and null times keep the row order."""
    return (
        frame.with_row_index("row")
        .with_columns(
            pl.col("timestamp").min().over("session_id").alias("start"),
            pl.col("row").min().over("session_id").alias("first_row"),
        )
        .sort("start", "first_row", "timestamp", "row")
        .drop("row", "start", "first_row")
    )


def cut_by_silence(frame: pl.DataFrame, gap_ms: int) -> pl.DataFrame:
    """Cut sessions at every silence longer than a gap, by the worker's rule.

    Args:
        frame: session_id and timestamp without nulls; the rows of a session in the order of its clicks.
        gap_ms: the longest silence within a session, ms.

    Returns:
        The same rows, session by session, in unchanged order within a session. session_id is a new number, UInt32.
    """
    return frame.sort("session_id", maintain_order=True).with_columns(session_number(gap_ms).alias("session_id"))


def session_number(gap_ms: int) -> pl.Expr:
    """The number of each click's session, UInt32 from 1; every silence longer than a gap begins a new session.

    The frame must have session_id and timestamp and be sorted by session_id, the rows of one id in click order.
    """
    session, moment = pl.col("session_id"), pl.col("timestamp")
    begins = session.ne_missing(session.shift()) | starts_anew(moment.shift(), moment, gap_ms)
    return begins.fill_null(True).cum_sum().cast(pl.UInt32)


def cut_file_by_silence(clicks: Clicks, gap_ms: int) -> Clicks:
    """The clicks of a file in time order, with sessions cut as `cut_by_silence` does.

    Raises:
        ClicksError: the clicks have no times.
    """
    if clicks.frame["timestamp"].null_count():
        raise ClicksError(f"{clicks.source} has no times to cut sessions by: leave out --session-gap")
    ordered = clicks.frame.sort("timestamp", maintain_order=True)
    return replace(clicks, frame=cut_by_silence(ordered, gap_ms))


def sessions_of(frame: pl.DataFrame, index: ItemIndex) -> Sessions:
    """Clicks (session_id, item_id, timestamp) to sessions.

    Clicks on items outside the index are dropped without ending their session. Then sessions with fewer than two clicks
    are dropped.
    """
    clicks = frame.select("session_id", "timestamp", pl.Series("item", index.rows(frame["item_id"]), pl.Int32))
    if (clicks["item"].min() or 0) < 0:  # type: ignore[operator]
        clicks = clicks.filter(pl.col("item") >= 0)
    # Sort millions of clicks only by their session's number and their time: faster than sorting whole rows.
    places = (
        clicks.group_by("session_id", maintain_order=True)
        .agg(pl.col("timestamp").min().alias("start"), pl.len().alias("clicks"))
        .filter(pl.col("clicks") >= 2)
        .sort("start", maintain_order=True)
        .with_row_index("place")
    )
    clicks = clicks.join(places.select("session_id", "place"), on="session_id", maintain_order="left")
    items = clicks.select("place", "timestamp", "item").sort("place", "timestamp", maintain_order=True)["item"]
    offsets = np.concatenate([[0], np.cumsum(places["clicks"].to_numpy(), dtype=np.int64)]).astype(np.int64)  # (S+1,)
    return Sessions(items.to_numpy().astype(np.int64), offsets)
