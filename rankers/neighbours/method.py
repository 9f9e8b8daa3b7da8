"""What the neighbourhood methods share: their settings, and the weights that make one method of the search.

    similarity(s, n) = Σ over shared items i of clicks[|s|, b(i)] · sessions[n]
    score(j) = Σ over the k most similar n with j of similarity(s, n) · back[b*] · distance[d] · items[j]

    b(i)  how many clicks ago the session s clicked i last
    b*    the same for i*, the most recently clicked item that s and the neighbour n share
    d     distance in clicks between i* and j in n

Candidates are the `newest` training sessions that share an item with s. At equal similarity the newer session is taken.

Sizes in the shape comments: S training sessions, I items, W the window.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rankers.neighbours.session_index import SessionIndex


class Weights(NamedTuple):
    """The weights of a method; see the formulas above.

    Attributes:
        clicks: (W+1, W) for each length of a session and each click, counted back from the last; a weight of a click
            is above 0.
        sessions: (S,) for each training session, above 0.
        items: (I,) for each item to score.
        back: (B,) for b* = 0, 1, …; the last weight also holds for larger b*.
        distance: (D,) for d = 0, 1, …; the last weight also holds for larger d.
    """

    clicks: NDArray[np.float64]
    sessions: NDArray[np.float32]
    items: NDArray[np.float32]
    back: NDArray[np.float64]
    distance: NDArray[np.float64]


@dataclass(frozen=True)
class NeighboursConfig:
    """The settings of a method: everything that its model needs beside the index.

    Attributes:
        items: I.
        k: number of neighbours.
        newest: number of candidates, and of the sessions that the index keeps for each item.
        window: number of last clicks of a session that are read.

    Raises:
        ValueError: a setting is not above 0.
    """

    items: int
    k: int = 500
    newest: int = 2500
    window: int = 50

    def __post_init__(self) -> None:
        for name in self.__dataclass_fields__:
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be above 0")

    @abstractmethod
    def weights(self, index: SessionIndex) -> Weights:
        """The weights of the method for the sessions of an index."""
