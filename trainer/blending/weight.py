"""The weight and the temperature of a blend, chosen on a validation part."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clicklog.sessions import Sessions
from rankers.blend.ranker import BlendRanker
from schemas.recommendation import TOP
from trainer.blending.grid import ranks_of_blends
from trainer.evaluation.ranks import Events, streamed
from trainer.validation import Figures

TEMPERATURES = np.array([0.15, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0])
"""Those above 2 are for large catalogues: a network ranks more items there than it was trained with at a time. Those
below .8 are for losses other than cross-entropy, whose scores are no logarithms of probabilities: bpr-max holds them
near 0."""

WEIGHTS = np.array([0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1])

MOST_EVENTS = 100_000
"""Of the newest sessions: more do not change the choice."""


class FittedBlend(NamedTuple):
    """The chosen blend, and Recall@20 and MRR@20 of it and of its parts alone, on the validation part.

    Attributes:
        weight: w.
        temperature: T.
        blend: figures of the blend.
        network: of the network alone.
        neighbours: of the neighbours alone.
    """

    weight: float
    temperature: float
    blend: Figures
    network: Figures
    neighbours: Figures


def fit_weight(ranker: BlendRanker, sessions: Sessions) -> FittedBlend:
    """Choose weight and temperature from a grid by the sum of Recall@20 and MRR@20, each event ranked fully.

    One weight for all sessions: weights by length lost .001 to .003 of both on other sessions where they were fitted to
    five thousand events, and gained nothing with fourteen thousand.

    Args:
        ranker: of a blend with any weight and temperature.
        sessions: later ones than its parts know.

    Raises:
        TrainingError: there is no event.
    """
    ranks = _ranks(ranker, _newest(sessions))
    hit = ranks <= TOP  # (E, T, W)
    recall = hit.mean(axis=0)  # (T, W)
    mrr = np.where(hit, 1 / ranks, 0).mean(axis=0)
    best = np.unravel_index(np.argmax(recall + mrr), recall.shape)

    def figures(place: tuple[np.intp, ...]) -> Figures:
        return float(recall[place]), float(mrr[place])

    alone = np.intp(0), np.intp(len(WEIGHTS) - 1)
    return FittedBlend(
        float(WEIGHTS[best[1]]),
        float(TEMPERATURES[best[0]]),
        figures(best),
        figures((alone[0], alone[0])),
        figures(alone),
    )


def _ranks(ranker: BlendRanker, sessions: Sessions) -> NDArray[np.uint8]:
    """(E, T, W), see `ranks_of_blends`; with the sums over all items that serving has, so that w and T fit them."""
    scorer = ranker.network.output.scorer_with_sums()
    events = Events.of(sessions)
    ranks = np.empty((len(events.target), len(TEMPERATURES), len(WEIGHTS)), dtype=np.uint8)
    for now, queries in streamed(ranker, sessions, events):
        scores = ranker.network_scores(queries)  # (n, I)
        log_sums = [
            scorer.best_and_log_sums(queries.states, 1, temperature)[1] for temperature in TEMPERATURES.tolist()
        ]
        ranks_of_blends(
            queries.clicks.items,
            queries.clicks.offsets,
            queries.known,
            ranker.searched,
            scores,
            np.stack(log_sums, axis=1),
            events.target[now],
            TEMPERATURES,
            WEIGHTS,
            ranks[now],
        )
    return ranks


def _newest(sessions: Sessions) -> Sessions:
    """The newest of them, with at most MOST_EVENTS events."""
    pairs = np.cumsum(np.diff(sessions.offsets)[::-1] - 1)
    kept = max(1, int(np.searchsorted(pairs, MOST_EVENTS, side="right")))
    offsets = sessions.offsets[-kept - 1 :]
    return Sessions(sessions.items[offsets[0] :], offsets - offsets[0])
