"""Ranks and the ranking metrics Recall@k and MRR@k, for offline evaluation and the worker's live evaluation.

A rank is 1 for the best item. Items that tie with the target can be counted in three ways:

    conservative   all of them rank above the target: a network that gives all items the same score gets the worst rank
    standard       none of them ranks above the target
    median         half of them rank above the target

Example:
    >>> recall, mrr = Recall(20), MeanReciprocalRank(20)
    >>> for metric in (recall, mrr):
    ...     metric.add(np.array([1, 4, 21]))
    >>> round(recall.result(), 3), round(mrr.result(), 3)
    (0.667, 0.417)
"""

from typing import Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

Ties = Literal["conservative", "standard", "median"]


def target_ranks(
    scores: NDArray[np.floating], targets: NDArray[np.integer], ties: Ties = "conservative"
) -> NDArray[np.float64]:
    """Rank the target of each row among all items.

    The target's score is read from the same row, so it is exactly equal to itself and can be excluded from the ties.

    Args:
        scores: (N, I), one row per event.
        targets: (N,), column of the next clicked item.
        ties: how items with the same score as the target count.

    Returns:
        (N,) float64, from 1; halves occur with `median` only.

    Raises:
        ValueError: a target's score is NaN, so it has no rank, or `ties` is unknown.
    """
    if ties not in ("conservative", "standard", "median"):
        raise ValueError(f"ties is {ties!r}: choose conservative, standard or median")
    own = scores[np.arange(len(targets)), targets]  # (N,)
    if np.isnan(own).any():
        raise ValueError(f"the score of target {targets[np.isnan(own)][0]} is not a number")
    ranks = np.empty(len(targets))  # (N,)
    for row, (values, score) in enumerate(zip(scores, own, strict=True)):  # row by row: a row fits into the cache
        if ties == "conservative":
            ranks[row] = np.count_nonzero(values >= score)  # the target counts itself
        elif ties == "standard":
            ranks[row] = np.count_nonzero(values > score) + 1
        else:
            ranks[row] = (np.count_nonzero(values >= score) + np.count_nonzero(values > score) + 1) / 2
    return ranks


class RankingMetric(Protocol):
    """Collects ranks and computes one number from them."""

    def add(self, ranks: ArrayLike) -> None:
        """Add events by the ranks of their targets, from 1; infinity for a target that was not ranked."""

    def result(self) -> float:
        """The metric over all added events; 0 before the first event."""


class Recall:
    """Recall@k: the share of events whose target ranks among the first k. Also called hit rate."""

    def __init__(self, cutoff: int) -> None:
        self.cutoff = cutoff
        self.events = 0
        self.hits = 0

    def add(self, ranks: ArrayLike) -> None:
        """Add events by the ranks of their targets, from 1."""
        values = np.asarray(ranks)
        self.events += values.size
        self.hits += int(np.count_nonzero(values <= self.cutoff))

    def result(self) -> float:
        """Hits per event; 0 before the first event."""
        return self.hits / self.events if self.events else 0.0


class MeanReciprocalRank:
    """MRR@k: the mean over events of 1/rank, where a rank above k counts 0."""

    def __init__(self, cutoff: int) -> None:
        self.cutoff = cutoff
        self.events = 0
        self.total = 0.0

    def add(self, ranks: ArrayLike) -> None:
        """Add events by the ranks of their targets, from 1."""
        values = np.asarray(ranks, dtype=np.float64)
        self.events += values.size
        self.total += float((1 / values[values <= self.cutoff]).sum())

    def result(self) -> float:
        """Mean reciprocal rank; 0 before the first event."""
        return self.total / self.events if self.events else 0.0
