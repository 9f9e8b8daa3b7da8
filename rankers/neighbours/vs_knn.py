"""VS-kNN (Ludewig & Jannach 2018) in the form of VMIS-kNN (Kersbergen et al. 2022): items of similar sessions."""

import numpy as np
from numpy.typing import NDArray

from clicklog.prefixes import Prefixes
from clicklog.sessions import Sessions
from rankers.neighbours.session_index import Weights, index_sessions, score_by_neighbours


class VSKNN:
    """Vector multiplication session-based k nearest neighbours.

        similarity(s, n) = Σ over shared items i of position(i, s) / |s|
        score(j) = Σ over the k most similar n with j of similarity(s, n) · max(0, 1 − back(s, n)/10) · log(S / supp_j)

    position(i, s) is the position of the last click on i in s, from 1; back(s, n) is how many clicks ago s clicked the
    newest item that n shares; supp_j counts the training sessions with j. Candidates are the `newest` training sessions
    that share an item.

    Args:
        k: number of neighbours.
        newest: number of candidates.
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
        """(N, I): zero for items that no neighbour has."""
        length = np.diff(prefixes.offsets)[prefixes.event]  # (P,)
        weights = Weights(
            clicks=(length - prefixes.back) / length,
            sessions=np.ones(len(self._index.of_session) - 1),
            items=self._rarity,
            back=1 - np.arange(11) / 10,
            distance=np.ones(1),
        )
        return score_by_neighbours(self._index, prefixes, weights, self._k, self._newest)
