"""A blend of a network and a neighbourhood method.

    score(j) = (1 − w) · softmax(g / T)[j] + w · n[j] / Σ n

g are the network's scores, n those of the neighbours. On a CPU the sum in the softmax is approximate
(`rankers.scoring.exponentials`): that is one factor near 1 for all items of the network. Items that the
network does not have get nothing from it. If no neighbour has an item to give, w acts as 0; if the session has no item
of the network, w acts as 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rankers.neighbours.family import Neighbours
from schemas.click import ItemId
from schemas.errors import BundleError, printable

TEMPERATURES = 0.01, 100.0
"""From and to: with lower ones exp(g / T) overflows, with higher ones all items of the network are equal."""


@dataclass(frozen=True, eq=False)
class Blend:
    """A model. Its rows are the network's, in the network's order, and then the items that only the neighbours know.

    Attributes:
        network_family: name of the network's family.
        network: the trained network.
        network_items: the item of each of the network's rows.
        neighbours_family: name of the neighbours' family.
        neighbours: counted for all the items.
        weight: w.
        temperature: T.

    Raises:
        BundleError: the weight is no number from 0 to 1, the temperature none of `TEMPERATURES`, or the network has
            other rows.
    """

    network_family: str
    network: Any
    network_items: Sequence[ItemId]
    neighbours_family: str
    neighbours: Neighbours
    weight: float
    temperature: float

    def __post_init__(self) -> None:
        if not _is_between(0, self.weight, 1):
            raise BundleError(
                f"a blend with the weight {printable(repr(self.weight))}: it must be a number from 0 to 1"
            )
        if not _is_between(TEMPERATURES[0], self.temperature, TEMPERATURES[1]):
            raise BundleError(
                f"a blend with the temperature {printable(repr(self.temperature))}: it must be a number from "
                f"{TEMPERATURES[0]:g} to {TEMPERATURES[1]:g}"
            )
        if self.network.config.items != len(self.network_items):
            raise BundleError(f"a network of {self.network.config.items} rows for {len(self.network_items)} items")
        if len(self.network_items) > self.neighbours.config.items:
            raise BundleError(
                f"a blend of {self.neighbours.config.items} items with a network of {len(self.network_items)}: the "
                "network's must be among them"
            )


def _is_between(least: float, value: Any, most: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most
