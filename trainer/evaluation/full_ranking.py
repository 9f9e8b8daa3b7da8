"""Full-ranking evaluation: after every click but a session's last, where does the next item rank among all items?

`trainer.evaluation.ranks.rank_streamed` returns the rank of every single event.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clicklog.sessions import Sessions
from rankers.contract import Ranker
from rankers.metrics import MeanReciprocalRank, RankingMetric, Recall, Ties
from schemas.recommendation import TOP
from trainer.evaluation.ranks import rank_streamed

CUTOFFS = (1, 5, 10, TOP)


@dataclass(frozen=True)
class Evaluation:
    """Metrics over all events, by cutoff.

    Attributes:
        events: number of (click, next click) pairs that were judged.
        recall: cutoff → Recall@k.
        mrr: cutoff → MRR@k.
    """

    events: int
    recall: dict[int, float]
    mrr: dict[int, float]


def evaluate(
    ranker: Ranker,
    sessions: Sessions,
    ties: Ties = "conservative",
    progress: Callable[[int, int], None] | None = None,
    cutoffs: Sequence[int] = CUTOFFS,
) -> Evaluation:
    """Rank the next item of every click among all items of the ranker; nothing is filtered or sampled.

    `sessions` has no clicks on items that the ranker does not have: `sessions_of` drops such clicks and keeps the rest
    of the session.

    Args:
        ranker: on any device.
        sessions: what to judge on.
        ties: how items with the same score as the target count.
        progress: called with the events judged so far and in all.
        cutoffs: the k of Recall@k and MRR@k.

    Raises:
        TrainingError: there is no event to judge, or the scores are not numbers.
    """
    return evaluation_of(rank_streamed(ranker, sessions, ties, progress).rank, cutoffs)


def evaluation_of(rank: NDArray[np.float64], cutoffs: Sequence[int] = CUTOFFS) -> Evaluation:
    """Recall and MRR of ranks (E,) at the cutoffs."""
    recall = {cutoff: Recall(cutoff) for cutoff in cutoffs}
    mrr = {cutoff: MeanReciprocalRank(cutoff) for cutoff in cutoffs}
    metrics: list[RankingMetric] = [*recall.values(), *mrr.values()]
    for metric in metrics:
        metric.add(rank)
    return Evaluation(
        len(rank),
        {cutoff: metric.result() for cutoff, metric in recall.items()},
        {cutoff: metric.result() for cutoff, metric in mrr.items()},
    )
