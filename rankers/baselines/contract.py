"""The interface of a baseline: fit to sessions, then score all items after the clicks of a session so far."""

from collections.abc import Mapping
from typing import Protocol

from clicklog.sessions import Sessions
from rankers.contract import PrefixScorer


class Baseline(PrefixScorer, Protocol):
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
