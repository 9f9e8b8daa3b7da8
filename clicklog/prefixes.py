"""The clicks of a session so far: the input of a method that ranks the next item."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Prefixes:
    """The clicks so far of some sessions, concatenated.

    Attributes:
        items: (P,) int64, rows of the clicked items.
        offsets: (N+1,) int64; the clicks so far of event n are `items[offsets[n]:offsets[n+1]]`, oldest first.
            There may be none, and then no `last`.
    """

    items: NDArray[np.int64]
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, part: slice) -> "Prefixes":
        """The clicks so far of a contiguous range of events."""
        first, end, _ = part.indices(len(self))
        offsets = self.offsets[first : end + 1]
        return Prefixes(self.items[offsets[0] : offsets[-1]], offsets - offsets[0])

    @property
    def last(self) -> NDArray[np.int64]:
        """The last clicked item of each event, (N,)."""
        return self.items[self.offsets[1:] - 1]

    @property
    def event(self) -> NDArray[np.int64]:
        """The event of each click, (P,)."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    @property
    def back(self) -> NDArray[np.int64]:
        """For each click, the number of clicks after it in its event, (P,): 0 for the last click."""
        return np.repeat(self.offsets[1:], np.diff(self.offsets)) - 1 - np.arange(len(self.items))
