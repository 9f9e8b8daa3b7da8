"""The clicks of a session so far: what a method sees before it ranks the next item."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Prefixes:
    """The clicks so far of some sessions, laid end to end.

    Attributes:
        items: (P,) int64, rows of the clicked items, at least one each.
        offsets: (N+1,) int64; the clicks so far of event n are `items[offsets[n]:offsets[n+1]]`, the last click last.
    """

    items: NDArray[np.int64]
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, part: slice) -> "Prefixes":
        """The clicks so far of some of the events that follow one another."""
        first, end, _ = part.indices(len(self))
        offsets = self.offsets[first : end + 1]
        return Prefixes(self.items[offsets[0] : offsets[-1]], offsets - offsets[0])

    @property
    def last(self) -> NDArray[np.int64]:
        """The item clicked last in each, (N,)."""
        return self.items[self.offsets[1:] - 1]

    @property
    def event(self) -> NDArray[np.int64]:
        """The event that each click belongs to, (P,)."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    @property
    def back(self) -> NDArray[np.int64]:
        """How many clicks each lies before the last one of its event, (P,): 0 is the last click."""
        return np.repeat(self.offsets[1:], np.diff(self.offsets)) - 1 - np.arange(len(self.items))
