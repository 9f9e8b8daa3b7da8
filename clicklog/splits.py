"""Splits by time: a model is judged on the newest sessions. A session is never divided."""

from datetime import timedelta

import polars as pl

from clicklog.filters import filter_clicks
from clicklog.sessions import in_session_order
from schemas.durations import milliseconds
from schemas.errors import ClicksError, TrainingError


def newest_share(frame: pl.DataFrame, share: float) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Separate the newest sessions from the others, by their first click (without timestamps: by row order).

    Args:
        frame: columns session_id and timestamp at least.
        share: of the sessions, above 0 and below 1.

    Returns:
        The clicks of the older and of the newer sessions, each in its row order.

    Raises:
        ClicksError: one of the two would be empty, or `share` is out of range.
    """
    if not 0 < share < 1:
        raise ClicksError(f"{share} is no share of the sessions: give one above 0 and below 1, such as 0.1")
    ordered = in_session_order(frame)["session_id"].unique(maintain_order=True)  # (S,)
    newer = round(len(ordered) * share)
    if not 0 < newer < len(ordered):
        raise ClicksError(f"a share of {share} of {len(ordered)} sessions leaves none on one side: take another share")
    inside = pl.col("session_id").is_in(ordered.tail(newer).implode())
    return frame.filter(~inside), frame.filter(inside)


def newest_span(frame: pl.DataFrame, span: timedelta) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Separate the sessions that began within the last `span` of the log from the others.

    Returns:
        The clicks of the older and of the newer sessions, each in its row order.

    Raises:
        ClicksError: the clicks have no timestamps, or one of the two would be empty.
    """
    if frame["timestamp"].null_count():
        raise ClicksError("the clicks have no timestamps, so there is no span of time: give a share of the sessions")
    bound = frame["timestamp"].max() - milliseconds(span)  # type: ignore[operator]
    newer = pl.col("timestamp").min().over("session_id") > bound
    older_clicks, newer_clicks = frame.filter(~newer), frame.filter(newer)
    if older_clicks.is_empty() or newer_clicks.is_empty():
        raise ClicksError(f"{_days(span)} leaves no session on one side: take another span")
    return older_clicks, newer_clicks


def known_clicks(frame: pl.DataFrame, train: pl.DataFrame, min_length: int = 2) -> pl.DataFrame:
    """Keep the clicks on items of `train`, in sessions that have at least `min_length` such clicks.

    Raises:
        TrainingError: no click is left.
    """
    kept = frame.filter(pl.col("item_id").is_in(train["item_id"].unique().implode()))
    kept = kept.filter(pl.len().over("session_id") >= min_length)
    if kept.is_empty():
        raise TrainingError(f"none of {len(frame)} newer clicks is left: no session has {min_length} on known items")
    return kept


def with_splits(
    frame: pl.DataFrame,
    test: timedelta | float,
    valid: timedelta | float | None = None,
    min_support: int = 5,
    min_length: int = 2,
) -> pl.DataFrame:
    """Filter clicks and add the column split.

    The older sessions are filtered first (`filter_clicks`); then the newest of them become `valid`. Test sessions keep
    only the clicks on items that are left after the filter.

    Args:
        frame: columns session_id, item_id and timestamp.
        test: the newest span of time or share of the sessions, for the split `test`.
        valid: the same for the split `valid`, from the remaining sessions; None makes no such split.
        min_support: fewest clicks of an item in train and valid together.
        min_length: fewest clicks of a session.

    Returns:
        The clicks that are left, with the column split; first train, then valid, then test.

    Raises:
        ClicksError: a split would be empty.
        TrainingError: the filters leave nothing.
    """
    older, newer = _newest(frame, test)
    older = filter_clicks(older, min_support, min_length)
    newer = known_clicks(newer, older, min_length)
    parts = {"train": older, "test": newer}
    if valid is not None:
        train, validation = _newest(older, valid)
        parts = {"train": train, "valid": validation, "test": newer}
    return pl.concat(part.with_columns(pl.lit(name).alias("split")) for name, part in parts.items())


def _newest(frame: pl.DataFrame, size: timedelta | float) -> tuple[pl.DataFrame, pl.DataFrame]:
    return newest_span(frame, size) if isinstance(size, timedelta) else newest_share(frame, size)


def _days(span: timedelta) -> str:
    days = span.total_seconds() / 86400
    return f"{days:g} days"
