"""The result of a training, and the span of its clicks."""

from dataclasses import dataclass

import polars as pl

from clicklog.clicks import Clicks
from clicklog.sessions import Sessions
from rankers.bundle import Bundle
from schemas.announcement import ClickSpan
from trainer.fit import FitResult


@dataclass(frozen=True)
class Trained:
    """Result of a training.

    Attributes:
        bundle: the trained bundle, with its model on the CPU.
        fit: the result of the fit.
        sessions: all sessions that the filters left, without those of the validation part, as rows of the bundle's
            items; a warm start trains on some of them only.
    """

    bundle: Bundle
    fit: FitResult
    sessions: Sessions


def span_of(
    kept: pl.DataFrame, clicks: Clicks, judged_until: int | None, network_until: int | None = None
) -> ClickSpan:
    """The span of the clicks that a model was made of.

    Args:
        kept: those that the filters left.
        clicks: as they were read.
        judged_until, network_until: see `ClickSpan`.
    """
    return ClickSpan(
        clicks=len(kept),
        sessions=kept["session_id"].n_unique(),
        first=kept["timestamp"].min(),  # type: ignore[arg-type]
        last=kept["timestamp"].max(),  # type: ignore[arg-type]
        judged_until=judged_until,
        network_until=network_until,
        source=clicks.source,
        offsets=clicks.offsets,
    )
