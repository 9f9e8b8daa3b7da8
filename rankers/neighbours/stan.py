"""STAN (Garg et al. 2019): neighbourhood sessions weighted by order and time."""

import numpy as np
from numpy.typing import NDArray

from clicklog.prefixes import Prefixes
from clicklog.sessions import Sessions
from rankers.neighbours.session_index import Weights, index_sessions, score_by_neighbours


class STAN:
    """Sequence and time aware neighbourhoods.

        similarity(s, n) = Σ over shared items i of e^(−back(i, s)/λ1) / sqrt(|n|) · e^(−age(n)/λ2)
        score(j) = Σ over the k most similar n with j of similarity(s, n) · e^(−|position(j, n) − position(i*, n)|/λ3)

    back(i, s) is how many clicks ago s clicked i, i* the newest item of s that n shares, and |n| the number of distinct
    items in n. The paper also divides by sqrt(|s|), which does not change the order.

    age(n) is the share of the training sessions that began after n. The paper uses days; a share needs no timestamps.
    The time between the end of training and s is left out, because it would scale all scores of s by one factor.

    The defaults were chosen on the newest sessions of the training parts of two samples of RecSys Challenge 2015 and of
    Diginetica, where λ3 = 4 gave the best Recall@20 and MRR@20 among 1, 2 and 4.

    Args:
        k: number of neighbours.
        newest: number of candidates.
        position_decay: λ1, in clicks.
        age_decay: λ2, as a share of the training sessions.
        distance_decay: λ3, in clicks.
    """

    def __init__(
        self,
        k: int = 500,
        newest: int = 2500,
        position_decay: float = 1.0,
        age_decay: float = 1.0,
        distance_decay: float = 4.0,
    ) -> None:
        self.settings: dict[str, int | float] = {
            "k": k,
            "newest": newest,
            "position_decay": position_decay,
            "age_decay": age_decay,
            "distance_decay": distance_decay,
        }
        self._k = k
        self._newest = newest
        self._position_decay = position_decay
        self._age_decay = age_decay
        self._distance_decay = distance_decay

    def fit(self, sessions: Sessions, items: int) -> None:
        """Index the sessions by item; compute their weights from length and age."""
        self._index = index_sessions(sessions, items, self._newest)
        age = np.arange(len(sessions))[::-1] / len(sessions)  # (S,)
        self._weight = np.exp(-age / self._age_decay) / np.sqrt(np.diff(self._index.of_session))  # (S,)
        self._distance = np.exp(-np.arange(np.diff(sessions.offsets).max()) / self._distance_decay)  # (D,)

    def scores(self, prefixes: Prefixes) -> NDArray[np.floating]:
        """(N, I): zero for items that no neighbour has."""
        weights = Weights(
            clicks=np.exp(-prefixes.back / self._position_decay),
            sessions=self._weight,
            items=np.ones(len(self._index.support)),
            back=np.ones(1),
            distance=self._distance,
        )
        return score_by_neighbours(self._index, prefixes, weights, self._k, self._newest)
