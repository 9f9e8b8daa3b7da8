"""POP and S-POP (Hidasi et al. 2016, section 4): the most clicked items, in training or in this session."""

import numpy as np
from numpy.typing import NDArray

from clicklog.prefixes import Prefixes
from clicklog.sessions import Sessions


class Popularity:
    """POP: items by their clicks in training, the same for every session."""

    def __init__(self) -> None:
        self.settings: dict[str, int | float] = {}

    def fit(self, sessions: Sessions, items: int) -> None:
        """Count each item's clicks."""
        self._clicks = np.bincount(sessions.items, minlength=items).astype(np.float64)  # (I,)

    def scores(self, prefixes: Prefixes) -> NDArray[np.floating]:
        """(N, I): the clicks of each item in training."""
        return np.tile(self._clicks, (len(prefixes), 1))


class SessionPopularity(Popularity):
    """S-POP: items by their clicks in the session so far; ties by their clicks in training."""

    def scores(self, prefixes: Prefixes) -> NDArray[np.floating]:
        """(N, I), float64: clicks in the session, plus the clicks in training scaled to less than 1."""
        scores = np.tile(self._clicks / (self._clicks.max() + 1), (len(prefixes), 1))  # (N, I)
        np.add.at(scores, (prefixes.event, prefixes.items), 1)
        return scores
