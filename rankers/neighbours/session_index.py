"""Scores from the training sessions most similar to a session so far; VS-kNN and STAN differ only in their weights.

Inverted index (item → the newest sessions that have it) → candidates → the k most similar → their items. Compiled by
numba, because the work is on short lists and not on matrices.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from clicklog.prefixes import Prefixes
from clicklog.sessions import Sessions


@dataclass(frozen=True)
class SessionIndex:
    """Training sessions by item, and their items.

    Attributes:
        sessions: (L,) int64, for each item the newest sessions that have it, newest first.
        of_item: (I+1,) int64; the sessions of item i are `sessions[of_item[i]:of_item[i+1]]`.
        items: (M,) int64, the distinct items of each session.
        positions: (M,) int64, position of the session's last click on each, from 0.
        of_session: (S+1,) int64; the items of session s are `items[of_session[s]:of_session[s+1]]`.
        support: (I,) int64, number of sessions that have each item, including sessions that the index leaves out.
    """

    sessions: NDArray[np.int64]
    of_item: NDArray[np.int64]
    items: NDArray[np.int64]
    positions: NDArray[np.int64]
    of_session: NDArray[np.int64]
    support: NDArray[np.int64]


def index_sessions(sessions: Sessions, items: int, newest: int) -> SessionIndex:
    """Build the index.

    Args:
        sessions: in the order of their first click: a higher number is a newer session.
        items: I, the number of items.
        newest: the number of sessions kept for each item.
    """
    lengths = np.diff(sessions.offsets)  # (S,)
    session = np.repeat(np.arange(len(sessions)), lengths)  # (N,)
    position = np.arange(len(session)) - np.repeat(sessions.offsets[:-1], lengths)  # (N,)
    key = session * items + sessions.items
    order = np.argsort(key, kind="stable")
    last = order[np.append(np.diff(key[order]) != 0, True)]  # (M,) the last click of each item in each session
    session, item = session[last], sessions.items[last]  # (M,) by session, then item
    support = np.bincount(item, minlength=items)  # (I,)
    by_item = np.lexsort((-session, item))  # (M,) by item, the newest session first
    nth = np.arange(len(item)) - np.repeat(np.cumsum(support) - support, support)
    return SessionIndex(
        sessions=session[by_item][nth < newest],
        of_item=np.concatenate([[0], np.cumsum(np.minimum(support, newest))]),
        items=item,
        positions=position[last],
        of_session=np.concatenate([[0], np.cumsum(np.bincount(session, minlength=len(sessions)))]),
        support=support,
    )


@dataclass(frozen=True)
class Weights:
    """The weights of a method's similarities and scores.

        similarity(s, n) = Σ over shared items i of clicks[i's last click in s] · sessions[n]
        score(j) = Σ over the k most similar n with j of similarity(s, n) · back[b] · distance[d] · items[j]

    b: how many clicks ago s clicked i*, the most recently clicked item that s and n share.
    d: distance in clicks between i* and j in n.

    Attributes:
        clicks: (P,) for each click of the prefixes.
        sessions: (S,) for each training session.
        items: (I,) for each item to score.
        back: (B,) for b = 0, 1, …; the last weight also holds for larger b.
        distance: (D,) for d = 0, 1, …; the last weight also holds for larger d.
    """

    clicks: NDArray[np.float64]
    sessions: NDArray[np.float64]
    items: NDArray[np.float64]
    back: NDArray[np.float64]
    distance: NDArray[np.float64]


def score_by_neighbours(
    index: SessionIndex, prefixes: Prefixes, weights: Weights, k: int, newest: int
) -> NDArray[np.float32]:
    """Score all items after each prefix, (N, I); zero for items that no neighbour has.

    Args:
        index: of the training sessions.
        prefixes: N of them.
        weights: of the method.
        k: number of neighbours.
        newest: number of candidates: the newest training sessions that share an item with the prefix.
    """
    scores = np.zeros((len(prefixes), len(index.support)), dtype=np.float32)
    _score(
        prefixes.items,
        prefixes.offsets,
        index.sessions,
        index.of_item,
        index.items,
        index.positions,
        index.of_session,
        weights.clicks,
        weights.sessions,
        weights.items,
        weights.back,
        weights.distance,
        k,
        newest,
        scores,
    )
    return scores


@njit(cache=True)  # type: ignore[untyped-decorator]
def _score(
    clicked: NDArray[np.int64],
    offsets: NDArray[np.int64],
    sessions: NDArray[np.int64],
    of_item: NDArray[np.int64],
    items: NDArray[np.int64],
    positions: NDArray[np.int64],
    of_session: NDArray[np.int64],
    click_weights: NDArray[np.float64],
    session_weights: NDArray[np.float64],
    item_weights: NDArray[np.float64],
    back_weights: NDArray[np.float64],
    distance_weights: NDArray[np.float64],
    k: int,
    newest: int,
    scores: NDArray[np.float32],
) -> None:
    """Write `scores` (N, I) for the N prefixes; they must be zero before."""
    similarity = np.empty(len(session_weights))  # (S,)
    shared = np.full(len(session_weights), -1)  # (S,)
    for event in range(len(offsets) - 1):
        now = slice(offsets[event], offsets[event + 1])
        found = _share_items(clicked[now], click_weights[now], sessions, of_item, newest, similarity, shared)
        similarity[found] *= session_weights[found]
        for session in _most_similar(found, similarity, k):
            back = shared[session]
            weight = similarity[session] * back_weights[min(back, len(back_weights) - 1)]
            own = slice(of_session[session], of_session[session + 1])
            at = _position(clicked[offsets[event + 1] - 1 - back], items[own], positions[own])
            for item, position in zip(items[own], positions[own]):  # noqa: B905 - numba has no strict
                distance = min(abs(position - at), len(distance_weights) - 1)
                scores[event, item] += weight * distance_weights[distance] * item_weights[item]
        shared[found] = -1


@njit(cache=True)  # type: ignore[untyped-decorator]
def _position(item: int, items: NDArray[np.int64], positions: NDArray[np.int64]) -> int:
    """The position of an item in a session that has it."""
    place = 0
    while items[place] != item:
        place += 1
    return int(positions[place])


@njit(cache=True)  # type: ignore[untyped-decorator]
def _distinct_newest_first(clicks: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each distinct item, how many clicks before the last one its last click was: (D,), ascending from 0."""
    back = np.empty(len(clicks), dtype=np.int64)
    found = 0
    for distance in range(len(clicks)):
        item = clicks[len(clicks) - 1 - distance]
        known = False
        for other in back[:found]:
            known = known or clicks[len(clicks) - 1 - other] == item
        if not known:
            back[found] = distance
            found += 1
    return back[:found]


@njit(cache=True)  # type: ignore[untyped-decorator]
def _share_items(
    clicks: NDArray[np.int64],
    weights: NDArray[np.float64],
    sessions: NDArray[np.int64],
    of_item: NDArray[np.int64],
    newest: int,
    similarity: NDArray[np.float64],
    shared: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Find the newest sessions that share an item with the clicks, and sum the weights of the shared items.

    Args:
        clicks: (P,) the session so far.
        weights: (P,) of the clicks; a shared item has the weight of the last click on it.
        sessions: of the index.
        of_item: of the index.
        newest: the largest number of sessions.
        similarity: (S,), written for the found sessions.
        shared: (S,), all -1; written for the found sessions: how far back the newest shared click is.

    Returns:
        (C,) sessions, ascending. The caller must set their `shared` to -1 again.
    """
    back = _distinct_newest_first(clicks)  # (D,)
    size = 0
    for distance in back:
        item = clicks[len(clicks) - 1 - distance]
        size += of_item[item + 1] - of_item[item]
    found = np.empty(size, dtype=np.int64)
    count = 0
    for number in range(len(back)):
        item = clicks[len(clicks) - 1 - back[number]]
        for session in sessions[of_item[item] : of_item[item + 1]]:
            if shared[session] < 0:
                shared[session] = back[number]
                similarity[session] = 0.0
                found[count] = session
                count += 1
            similarity[session] += weights[len(clicks) - 1 - back[number]]
    ordered = np.sort(found[:count])
    for session in ordered[: max(0, count - newest)]:
        shared[session] = -1
    return ordered[max(0, count - newest) :]


@njit(cache=True)  # type: ignore[untyped-decorator]
def _most_similar(found: NDArray[np.int64], similarity: NDArray[np.float64], k: int) -> NDArray[np.int64]:
    """The k most similar sessions of `found` (C,), which is ascending; at equal similarity the newer session."""
    if len(found) <= k:
        return found
    return found[np.argsort(similarity[found], kind="mergesort")[len(found) - k :]]
