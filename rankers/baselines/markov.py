"""A first-order Markov chain: what was clicked right after the last click's item."""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from clicklog.prefixes import Prefixes
from clicklog.sessions import Sessions


def transitions(sessions: Sessions) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Every click and the next one of its session, (E,) item rows each."""
    has_next = np.ones(len(sessions.items), dtype=bool)
    has_next[sessions.offsets[1:] - 1] = False
    clicks = np.flatnonzero(has_next)
    return sessions.items[clicks], sessions.items[clicks + 1]


class MarkovChain:
    """Maximum-likelihood transitions: P(j | i) = count(i → j) / count(i → any). Unseen ones have probability zero."""

    def __init__(self) -> None:
        self.settings: dict[str, int | float] = {}

    def fit(self, sessions: Sessions, items: int) -> None:
        """Count transitions."""
        of, to = transitions(sessions)
        leaving = np.bincount(of, minlength=items)  # (I,)
        self._probability = sparse.csr_array((1 / leaving[of], (of, to)), shape=(items, items))  # equal ones are added

    def scores(self, prefixes: Prefixes) -> NDArray[np.floating]:
        """(N, I): probability of each item after the last click's item."""
        scores: NDArray[np.floating] = self._probability[prefixes.last].toarray()
        return scores
