"""Metrics by position in the session and by popularity of the next item, and confidence intervals of metrics."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.evaluation.bootstrap import resampled_totals
from trainer.evaluation.full_ranking import CUTOFFS, Evaluation, evaluation_of
from trainer.evaluation.ranks import Ranks

POSITIONS = (1, 2, 3, 4, 5, 10, 20)
"""Upper ends of the groups of positions; positions above the last one form one more group."""


@dataclass(frozen=True)
class Interval:
    """A metric, and the range that contains its values on a given share of the resampled data sets."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Intervals:
    """Intervals by cutoff, as in `Evaluation`."""

    recall: dict[int, Interval]
    mrr: dict[int, Interval]


def by_position(ranks: Ranks, cutoffs: Sequence[int] = CUTOFFS) -> dict[str, Evaluation]:
    """Metrics by the number of clicks of the session so far: 1, 2, …, 6-10, …; groups without events are left out."""
    groups = {}
    low = 1
    for high in POSITIONS:
        inside = (ranks.position >= low) & (ranks.position <= high)
        groups[str(low) if low == high else f"{low}-{high}"] = inside
        low = high + 1
    groups[f"{low} or more"] = ranks.position >= low
    return {name: evaluation_of(ranks.rank[inside], cutoffs) for name, inside in groups.items() if inside.any()}


def by_popularity(
    ranks: Ranks, support: NDArray[np.int64], cutoffs: Sequence[int] = CUTOFFS, groups: int = 5
) -> dict[str, Evaluation]:
    """Metrics by the number of training clicks of the item that was clicked next.

    Args:
        ranks: of the events.
        support: (I,) training clicks of each item.
        cutoffs: of the metrics.
        groups: the most groups, each with about the same share of the training clicks; items of equal support are
            always in one group.

    Returns:
        `3-17 clicks (412 items)` → metrics, the rarest items first; groups without events are left out.
    """
    values, counts = np.unique(support, return_counts=True)  # (V,) ascending
    share = np.cumsum(values * counts) / (values * counts).sum()  # (V,)
    group_of_value = np.minimum(np.ceil(share * groups - 1e-9).astype(int), groups) - 1  # (V,)
    group_of_item = group_of_value[np.searchsorted(values, support)]  # (I,)
    figures = {}
    for group in range(groups):
        inside = group_of_item[ranks.target] == group
        if inside.any():
            own = support[group_of_item == group]
            clicks = str(own.min()) if own.min() == own.max() else f"{own.min()}-{own.max()}"
            figures[f"{clicks} clicks ({len(own):,} items)"] = evaluation_of(ranks.rank[inside], cutoffs)
    return figures


def session_bootstrap(
    ranks: Ranks, cutoffs: Sequence[int] = CUTOFFS, draws: int = 1000, level: float = 0.95, seed: int = 0
) -> Intervals:
    """Percentile intervals by the bootstrap (Efron 1979) over sessions, whose events depend on each other.

    Args:
        ranks: of the events.
        cutoffs: of the metrics.
        draws: number of resampled data sets, each of as many sessions, drawn with replacement.
        level: share of the resampled data sets whose value lies within the interval.
        seed: of the draws.
    """
    _, session = np.unique(ranks.session, return_inverse=True)  # (E,)
    events = np.bincount(session)  # (S,)
    hits = np.stack([np.bincount(session, ranks.rank <= cutoff) for cutoff in cutoffs])  # (K, S)
    reciprocal = np.stack([np.bincount(session, (ranks.rank <= cutoff) / ranks.rank) for cutoff in cutoffs])  # (K, S)
    summed = np.concatenate([events[None], hits, reciprocal])  # (1+2K, S)
    totals = resampled_totals(summed, draws, seed)  # (draws, 1+2K)
    metrics = totals[:, 1:] / totals[:, :1]  # (draws, 2K)
    value = summed[1:].sum(1) / summed[0].sum()  # (2K,)
    low, high = np.quantile(metrics, [(1 - level) / 2, (1 + level) / 2], axis=0)  # (2K,) each
    intervals = [Interval(*map(float, row)) for row in zip(value, low, high, strict=True)]
    recall, mrr = intervals[: len(cutoffs)], intervals[len(cutoffs) :]
    return Intervals(dict(zip(cutoffs, recall, strict=True)), dict(zip(cutoffs, mrr, strict=True)))
