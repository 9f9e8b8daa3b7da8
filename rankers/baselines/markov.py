"""A first-order Markov chain: items clicked directly after the last clicked item."""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from clicklog.prefixes import Prefixes
from clicklog.sessions import Sessions


def transitions(sessions: Sessions) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Item rows of every click that has a next click in its session, and of that next click; (E,) each."""
    has_next = np.ones(len(sessions.items), dtype=bool)
    has_next[sessions.offsets[1:] - 1] = False
    clicks = np.flatnonzero(has_next)
    return sessions.items[clicks], sessions.items[clicks + 1]


class MarkovChain:
    """Maximum-likelihood transitions: P(j | i) = count(i → j) / count(i → any). Unseen transitions: 0."""

    def __init__(self) -> None:
        self.settings: dict[str, int | float] = {}

    def fit(self, sessions: Sessions, items: int) -> None:
        """Count transitions."""
        of, to = transitions(sessions)
        leaving = np.bincount(of, minlength=items)  # (I,)
        self._probability = sparse.csr_array((1 / leaving[of], (of, to)), shape=(items, items))  # duplicates are summed

    def scores(self, prefixes: Prefixes) -> NDArray[np.floating]:
        """(N, I): probability of each item after the last clicked item."""
        scores: NDArray[np.floating] = self._probability[prefixes.last].toarray()
        return scores
