"""The ranks of the next items by every blend of a grid, each by full ranking, from one pass over the scores.

Sizes in the shape comments: E events, I items, T temperatures, W weights.
"""

import numpy as np
from numpy.typing import NDArray

from rankers.blend.merge import Searched
from rankers.compiled import compiled_in_order
from rankers.neighbours.search import add_scores
from schemas.recommendation import TOP

LAST = TOP + 1
"""Stands for every rank below the first TOP."""


@compiled_in_order
def ranks_of_blends(
    clicks: NDArray[np.int64],
    offsets: NDArray[np.int64],
    known: NDArray[np.bool_],
    searched: Searched,
    network_scores: NDArray[np.float32],
    log_sums: NDArray[np.float64],
    targets: NDArray[np.int64],
    temperatures: NDArray[np.float64],
    weights: NDArray[np.float64],
    ranks: NDArray[np.uint8],
) -> None:
    """Write the rank (E, T, W) of each target, LAST for all from LAST on; ties count against the blend.

    Args:
        clicks: the last clicks before each event, concatenated.
        offsets: (E+1,).
        known: (E,) whether the network knows an item of the session; if not, the neighbours answer alone.
        searched: the neighbours.
        network_scores: (E, I), -inf for items that the network does not have.
        log_sums: (E, T), log Σ exp(g / T).
        targets: (E,).
        temperatures: (T,).
        weights: (W,), ascending.
        ranks: written.
    """
    items = network_scores.shape[1]
    of_all = np.zeros(items, dtype=np.float32)  # (I,)
    touched = np.empty(items, dtype=np.int32)
    others = np.empty(LAST, dtype=np.float32)
    sessions, method, neighbours, newest = searched
    for event in range(len(targets)):
        g, target = network_scores[event], targets[event]
        now = clicks[offsets[event] : offsets[event + 1]]
        count = add_scores(now, sessions, method, neighbours, newest, of_all, touched)
        total = 0.0
        for item in touched[:count]:
            total += of_all[item]
        _best_others(g, of_all, target, others)
        probability = np.empty(count)
        for t in range(len(temperatures)):
            temperature, log_sum = temperatures[t], log_sums[event, t]
            of_target = np.exp(g[target] / temperature - log_sum)
            for place in range(count):
                probability[place] = np.exp(g[touched[place]] / temperature - log_sum)
            for w in range(len(weights)):
                share = 1.0 if not known[event] else weights[w] if count else 0.0
                factor = share / total if count else 0.0
                mine = (1 - share) * of_target + factor * of_all[target]
                rank = 1
                for other in others:
                    rank += (1 - share) * np.exp(other / temperature - log_sum) >= mine
                for place in range(count):
                    item = touched[place]
                    rank += item != target and (1 - share) * probability[place] + factor * of_all[item] >= mine
                    if rank >= LAST:
                        break
                ranks[event, t, w] = min(rank, LAST)
        of_all[touched[:count]] = 0


@compiled_in_order
def _best_others(
    g: NDArray[np.float32], of_all: NDArray[np.float32], target: np.int64, others: NDArray[np.float32]
) -> None:
    """Write the network's highest scores of items that no neighbour has, without the target: LAST of them suffice."""
    others[:] = -np.inf
    last = len(others) - 1
    for item in range(len(g)):
        score = g[item]
        if score > others[last] and of_all[item] == 0 and item != target:
            place = last
            while place > 0 and others[place - 1] < score:
                others[place] = others[place - 1]
                place -= 1
            others[place] = score
