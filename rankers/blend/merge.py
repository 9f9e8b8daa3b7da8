"""The compiled part of a blend: scores of a network and of neighbours as one list.

One session after the other, and always by the same sums, so an answer does not depend on the rest of its batch.

Sizes in the shape comments: Q queries, I items, N rows of the network, h hidden units, k best items.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rankers.compiled import compiled_in_order
from rankers.neighbours.method import Weights
from rankers.neighbours.search import add_scores
from rankers.neighbours.session_index import SessionIndex
from rankers.scoring.topk import insert, score_of

SLACK = 1.0001
"""Of the bound of a probability: the score of the network's k-th item may be another one by rounding."""


class Searched(NamedTuple):
    """What the neighbours of a session are searched with, see `rankers.neighbours.search.best_items`."""

    sessions: SessionIndex
    weights: Weights
    neighbours: int
    newest: int


class Read(NamedTuple):
    """What both parts know of Q sessions.

    Attributes:
        clicks: the sessions' last clicks, concatenated.
        offsets: (Q+1,); the clicks of session q are `clicks[offsets[q]:offsets[q+1]]`, possibly none.
        known: (Q,) whether the network has seen an item of the session.
        log_sums: (Q,) float64, log Σ exp(g / T) of the network's scores.
    """

    clicks: NDArray[np.int64]
    offsets: NDArray[np.int64]
    known: NDArray[np.bool_]
    log_sums: NDArray[np.float64]


@compiled_in_order
def best_of_both(
    read: Read,
    searched: Searched,
    share: float,
    temperature: float,
    states: NDArray[np.float32],
    weight: NDArray[np.float32],
    bias: NDArray[np.float32],
    network_best: NDArray[np.int64],
    rows: NDArray[np.int64],
    scores: NDArray[np.float64],
    brought: NDArray[np.float32],
) -> None:
    """The k best items of each session; equal scores are ordered by row.

    An item is among them only if it is among the network's best or a neighbour has it. The network scores the items of
    neighbours only where its k-th best probability could lift them into the answer.

    Args:
        read: of the sessions.
        searched: the neighbours.
        share: w.
        temperature: T.
        states: (Q, h), the network's queries.
        weight: (N, h) of the network's output layer.
        bias: (N,).
        network_best: (Q, min(k, N)), the network's best, best first.
        rows: (Q, k), written.
        scores: (Q, k), written.
        brought: (Q, k), written: the neighbours' share of each score.
    """
    items, k = len(searched.sessions.of_item) - 1, rows.shape[1]
    of_all = np.zeros(items, dtype=np.float32)  # (I,)
    touched = np.empty(items, dtype=np.int32)
    taken = np.zeros(items, dtype=np.bool_)  # (I,)
    lowest = np.empty(k)
    rows[:] = items
    scores[:] = -1
    for query in range(len(read.offsets) - 1):
        numbers, best, state = rows[query], scores[query], states[query]
        count, by_network, by_neighbours = _search(query, read, searched, share, of_all, touched)
        most, found = np.inf, 0
        if by_network > 0:
            for row in network_best[query]:
                g = score_of(state, weight[row], bias[row])
                most = by_network * np.exp(g / temperature - read.log_sums[query])
                insert(most + by_neighbours * of_all[row], row, best, numbers)
                taken[row] = True
                found += 1
            most *= SLACK
        least = _kth(touched[:count], of_all, by_neighbours, lowest)
        for item in touched[:count]:
            in_network = by_network > 0 and item < len(bias)
            score = by_neighbours * of_all[item]
            if taken[item] or score + (most if in_network else 0) < max(least, best[k - 1]):
                continue
            if in_network:
                g = score_of(state, weight[item], bias[item])
                score += by_network * np.exp(g / temperature - read.log_sums[query])
            if score > best[k - 1] or (score == best[k - 1] and item < numbers[k - 1]):
                insert(score, item, best, numbers)
                found += 1
        row = 0
        while found < k and row < items:
            if not taken[row] and of_all[row] == 0:
                numbers[found], best[found] = row, 0
                found += 1
            row += 1
        for place in range(k):
            part = by_neighbours * of_all[numbers[place]]
            brought[query, place] = part / best[place] if part > 0 else 0
        of_all[touched[:count]] = 0
        taken[network_best[query]] = False


@compiled_in_order
def _kth(
    touched: NDArray[np.int32], of_all: NDArray[np.float32], by_neighbours: float, lowest: NDArray[np.float64]
) -> float:
    """The k-th best score if the network gave nothing: at most the k-th best one. 0 if there are fewer items.

    Args:
        touched: the items that neighbours have.
        of_all: (I,), their scores n.
        by_neighbours: w / Σ n.
        lowest: (k,), overwritten.
    """
    lowest[:] = 0
    for item in touched:
        score = by_neighbours * of_all[item]
        if score > lowest[-1]:
            place = len(lowest) - 1
            while place > 0 and lowest[place - 1] < score:
                lowest[place] = lowest[place - 1]
                place -= 1
            lowest[place] = score
    return float(lowest[-1])


@compiled_in_order
def scores_of_both(
    read: Read,
    searched: Searched,
    share: float,
    temperature: float,
    network_scores: NDArray[np.float32],
    rows: NDArray[np.int64],
    scores: NDArray[np.float64],
) -> None:
    """Write the scores (Q, R) of the given rows (R,) from the network's scores g (Q, R), -inf for rows it lacks."""
    items = len(searched.sessions.of_item) - 1
    of_all = np.zeros(items, dtype=np.float32)  # (I,)
    touched = np.empty(items, dtype=np.int32)
    for query in range(len(read.offsets) - 1):
        count, by_network, by_neighbours = _search(query, read, searched, share, of_all, touched)
        for place in range(len(rows)):
            score = by_neighbours * of_all[rows[place]]
            if by_network > 0:
                score += by_network * np.exp(network_scores[query, place] / temperature - read.log_sums[query])
            scores[query, place] = score
        of_all[touched[:count]] = 0


@compiled_in_order
def _search(
    query: int,
    read: Read,
    searched: Searched,
    share: float,
    of_all: NDArray[np.float32],
    touched: NDArray[np.int32],
) -> tuple[int, float, float]:
    """Add the neighbours' scores n of one session to `of_all`.

    Returns:
        how many items are `touched`; the network's share 1 − w; and w / Σ n, 0 without neighbours.
    """
    clicks = read.clicks[read.offsets[query] : read.offsets[query + 1]]
    if len(clicks) == 0:
        return 0, 1.0, 0.0
    if not read.known[query]:
        share = 1.0
    if share == 0:
        return 0, 1.0, 0.0
    sessions, weights, neighbours, newest = searched
    count = add_scores(clicks, sessions, weights, neighbours, newest, of_all, touched)
    total = 0.0
    for item in touched[:count]:
        total += of_all[item]
    if count == 0:
        return 0, 1.0 if read.known[query] else 0.0, 0.0
    return count, 1.0 - share, share / total
