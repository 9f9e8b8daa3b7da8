"""The weight and the temperature of a blend, chosen on a validation part."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from clicklog.prefixes import Prefixes
from clicklog.sessions import Sessions
from rankers.blend.merge import Searched
from rankers.contract import Ranker
from rankers.neighbours.family import Neighbours
from schemas.recommendation import TOP
from trainer.blending.grid import ranks_of_blends
from trainer.evaluation.ranks import Events, streamed
from trainer.validation import Figures

TEMPERATURES = np.array([0.8, 1.0, 1.25, 1.5, 2.0])
"""2.5 never was the best on the validation parts of three public data sets."""

WEIGHTS = np.array([0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1])

MOST_EVENTS = 100_000
"""Of the newest sessions: more do not change the choice."""


class FittedBlend(NamedTuple):
    """The chosen blend, and Recall@20 and MRR@20 of it and of its parts alone, on the validation part.

    Attributes:
        weights: w by the number of clicks, see `rankers.blend.model.Blend`.
        temperature: T.
        blend: figures of the blend.
        network: of the network alone.
        neighbours: of the neighbours alone.
    """

    weights: tuple[float, ...]
    temperature: float
    blend: Figures
    network: Figures
    neighbours: Figures


def fit_weights(network: Ranker, neighbours: Neighbours, sessions: Sessions) -> FittedBlend:
    """Choose weight and temperature from a grid by the sum of Recall@20 and MRR@20, each event ranked fully.

    One weight for all lengths: weights by length, fitted on some ten thousand events, lost .001 to .003 of both on
    other sessions.

    Args:
        network: a ranker whose items are those of the neighbours.
        neighbours: counted from the same sessions as the network was trained on.
        sessions: later ones.

    Raises:
        TrainingError: there is no event.
    """
    ranks = _ranks(network, neighbours, _newest(sessions))
    hit = ranks <= TOP  # (E, T, W)
    recall = hit.mean(axis=0)  # (T, W)
    mrr = np.where(hit, 1 / ranks, 0).mean(axis=0)
    best = np.unravel_index(np.argmax(recall + mrr), recall.shape)

    def figures(place: tuple[np.intp, ...]) -> Figures:
        return float(recall[place]), float(mrr[place])

    alone = np.intp(0), np.intp(len(WEIGHTS) - 1)
    return FittedBlend(
        (float(WEIGHTS[best[1]]),),
        float(TEMPERATURES[best[0]]),
        figures(best),
        figures((alone[0], alone[0])),
        figures(alone),
    )


def _ranks(network: Ranker, neighbours: Neighbours, sessions: Sessions) -> NDArray[np.uint8]:
    config, index = neighbours.config, neighbours.index
    newest = min(config.newest, len(index.of_session) - 1)
    searched = Searched(index, config.weights(index), int(config.k), int(newest))
    events = Events.of(sessions)
    before = sessions.offsets[events.session]  # (E,)
    ranks = np.empty((len(events.target), len(TEMPERATURES), len(WEIGHTS)), dtype=np.uint8)
    for now, queries in streamed(network, sessions, events):
        scores = network.scores(queries)  # (n, I)
        log_sums = [torch.logsumexp(torch.from_numpy(scores) / t, 1).double().numpy() for t in TEMPERATURES.tolist()]
        read = _last_clicks(sessions, before[now], events.position[now], config.window)
        ranks_of_blends(
            read.items,
            read.offsets,
            searched,
            scores,
            np.stack(log_sums, axis=1),
            events.target[now],
            TEMPERATURES,
            WEIGHTS,
            ranks[now],
        )
    return ranks


def _last_clicks(sessions: Sessions, first: NDArray[np.int64], count: NDArray[np.int64], window: int) -> Prefixes:
    """The last `window` of the first `count` clicks of sessions that begin at `first`."""
    length = np.minimum(count, window)
    offsets = np.concatenate([[0], np.cumsum(length)])
    click = np.arange(offsets[-1]) + np.repeat(first + count - length - offsets[:-1], length)
    return Prefixes(sessions.items[click], offsets)


def _newest(sessions: Sessions) -> Sessions:
    """The newest of them, with at most MOST_EVENTS events."""
    pairs = np.cumsum(np.diff(sessions.offsets)[::-1] - 1)
    kept = max(1, int(np.searchsorted(pairs, MOST_EVENTS, side="right")))
    offsets = sessions.offsets[-kept - 1 :]
    return Sessions(sessions.items[offsets[0] :], offsets - offsets[0])
