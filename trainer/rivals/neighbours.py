"""Finding the training sessions that are most like a session so far: what VS-kNN and STAN share.

Inverted index (item → the newest sessions that have it) → candidates → the k most similar. Compiled by numba: there
are no matrix products in this, only short lists.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from trainer.sessions import Sessions


@dataclass(frozen=True)
class SessionIndex:
    """Training sessions by item, and their items.

    Attributes:
        sessions: (L,) int64, for each item the newest sessions that have it, the newest first.
        of_item: (I+1,) int64; those of item i are `sessions[of_item[i]:of_item[i+1]]`.
        items: (M,) int64, the distinct items of each session.
        positions: (M,) int64, where the session clicked them last, from 0.
        of_session: (S+1,) int64; those of session s are `items[of_session[s]:of_session[s+1]]`.
        support: (I,) int64, sessions that have each item, those that the index leaves out too.
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
        sessions: in the order of their first click, so that a higher number is a newer session.
        items: I.
        newest: how many sessions are kept for an item.
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


@njit(cache=True)  # type: ignore[untyped-decorator]
def distinct_newest_first(clicks: NDArray[np.int64]) -> NDArray[np.int64]:
    """How far back from the last click each distinct item was clicked last, ascending: 0 is the last click, (D,)."""
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
def share_items(
    clicks: NDArray[np.int64],
    back: NDArray[np.int64],
    weights: NDArray[np.float64],
    sessions: NDArray[np.int64],
    of_item: NDArray[np.int64],
    newest: int,
    similarity: NDArray[np.float64],
    shared: NDArray[np.int64],
) -> NDArray[np.int64]:
    """The newest sessions that share an item with the clicks; the sum of the shared items' weights.

    Args:
        clicks: (P,) the session so far.
        back: (D,) from `distinct_newest_first`.
        weights: (D,) of these items.
        sessions: of the index.
        of_item: of the index.
        newest: how many sessions at most.
        similarity: (S,), written where a session is found.
        shared: (S,), -1 throughout; written where a session is found: how far back the newest shared click is.

    Returns:
        (C,) sessions, ascending. Sets their `shared`; the caller sets it to -1 again.
    """
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
            similarity[session] += weights[number]
    ordered = np.sort(found[:count])
    for session in ordered[: max(0, count - newest)]:
        shared[session] = -1
    return ordered[max(0, count - newest) :]


@njit(cache=True)  # type: ignore[untyped-decorator]
def most_similar(found: NDArray[np.int64], similarity: NDArray[np.float64], k: int) -> NDArray[np.int64]:
    """The k sessions of `found` (C,), ascending, that are most similar; of equally similar ones the newest."""
    if len(found) <= k:
        return found
    return found[np.argsort(similarity[found], kind="mergesort")[len(found) - k :]]
