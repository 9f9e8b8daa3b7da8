"""VS-kNN (Ludewig & Jannach 2018) in the form of VMIS-kNN (Kersbergen et al. 2022): items of similar sessions."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from trainer.prefixes import Prefixes
from trainer.rivals.neighbours import distinct_newest_first, index_sessions, most_similar, share_items
from trainer.sessions import Sessions


class VSKNN:
    """Vector multiplication session-based k nearest neighbours.

        similarity(s, n) = Σ over shared items i of position(i, s) / |s|
        score(j) = Σ over the k most similar n with j of similarity(s, n) · max(0, 1 − back(s, n)/10) · log(S / supp_j)

    position(i, s) is where the session clicked i last, from 1; back(s, n) is how many clicks ago the newest click
    was that s and n share; supp_j counts the training sessions with j. Candidates are the `newest` training sessions
    that share an item.

    Args:
        k: neighbours.
        newest: candidates.
    """

    def __init__(self, k: int = 500, newest: int = 2500) -> None:
        self.settings: dict[str, int | float] = {"k": k, "newest": newest}
        self._k = k
        self._newest = newest

    def fit(self, sessions: Sessions, items: int) -> None:
        """Index the sessions by item."""
        self._index = index_sessions(sessions, items, self._newest)
        self._rarity = np.log(len(sessions) / np.maximum(self._index.support, 1))  # (I,)

    def scores(self, prefixes: Prefixes) -> NDArray[np.floating]:
        """(N, I): zero for what no neighbour has."""
        index = self._index
        scores = np.zeros((len(prefixes), len(self._rarity)), dtype=np.float32)
        _score(
            prefixes.items,
            prefixes.offsets,
            index.sessions,
            index.of_item,
            index.items,
            index.of_session,
            self._rarity,
            self._k,
            self._newest,
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
    of_session: NDArray[np.int64],
    rarity: NDArray[np.float64],
    k: int,
    newest: int,
    scores: NDArray[np.float32],
) -> None:
    """Fill `scores` (N, I), zero before, for the N prefixes."""
    similarity = np.empty(len(of_session) - 1)  # (S,)
    shared = np.full(len(of_session) - 1, -1)  # (S,)
    for event in range(len(offsets) - 1):
        clicks = clicked[offsets[event] : offsets[event + 1]]  # (P,)
        back = distinct_newest_first(clicks)  # (D,)
        weights = (len(clicks) - back) / len(clicks)  # (D,)
        found = share_items(clicks, back, weights, sessions, of_item, newest, similarity, shared)
        for session in most_similar(found, similarity, k):
            weight = similarity[session] * max(0.0, 1 - shared[session] / 10)
            for item in items[of_session[session] : of_session[session + 1]]:
                scores[event, item] += weight * rarity[item]
        shared[found] = -1
