"""The clicks to train on: without rare items and short sessions."""

import polars as pl

from schemas.errors import TrainingError


def filter_clicks(frame: pl.DataFrame, min_support: int = 5, min_length: int = 2) -> pl.DataFrame:
    """Drop rare items and short sessions, repeatedly until nothing more is dropped.

    One pass is not enough: dropping an item shortens sessions, and dropping a session lowers its items' support.

    Args:
        frame: columns session_id and item_id at least; other columns and the row order are kept.
        min_support: fewest clicks of an item.
        min_length: fewest clicks of a session; below 2 there is nothing to predict.

    Raises:
        TrainingError: no click is left.
    """
    clicks = len(frame)
    before = -1
    while len(frame) != before:
        before = len(frame)
        frame = _keep(frame, "item_id", min_support)
        frame = _keep(frame, "session_id", min_length)
    if frame.is_empty():
        raise TrainingError(
            f"none of {clicks} clicks is left with item support ≥ {min_support} and session length ≥ {min_length}: "
            "train on more clicks, or lower --min-support"
        )
    return frame


def _keep(frame: pl.DataFrame, column: str, least: int) -> pl.DataFrame:
    """The clicks whose item or session (`column`) has at least `least` clicks."""
    enough = frame.select(pl.len().over(column) >= least).to_series()
    return frame if enough.all() else frame.filter(enough)
