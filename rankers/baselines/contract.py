"""The interface of a baseline: fit to sessions, then score all items after the clicks of a session so far."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from clicklog.prefixes import Prefixes
from clicklog.sessions import Sessions


class Baseline(Protocol):
    """A method of recommending the next item from a session's clicks so far."""

    @property
    def settings(self) -> Mapping[str, int | float]:
        """The method's settings by name. Two baselines with the same settings and seed give the same figures."""

    def fit(self, sessions: Sessions, items: int) -> None:
        """Learn from training sessions.

        Args:
            sessions: in the order of their first click; items are rows from 0 to `items` - 1.
            items: I, the number of items.
        """

    def scores(self, prefixes: Prefixes) -> NDArray[np.floating]:
        """Score every item after each prefix; higher is better. Equal scores are ties, also zeros.

        Returns:
            (N, I), a new array.
        """
