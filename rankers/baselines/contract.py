"""What every rival does: it is fitted to sessions, and then scores all items after the clicks of a session so far."""

from collections.abc import Mapping
from typing import Protocol

from clicklog.sessions import Sessions
from rankers.contract import PrefixScorer


class Baseline(PrefixScorer, Protocol):
    """A method of recommending the next item from a session's clicks so far."""

    @property
    def settings(self) -> Mapping[str, int | float]:
        """What the method was told, by name: two rivals of the same settings give the same figures."""

    def fit(self, sessions: Sessions, items: int) -> None:
        """Learn from training sessions, in the order of their first click.

        Args:
            sessions: items are rows from 0 to `items` - 1.
            items: I, how many there are.
        """
