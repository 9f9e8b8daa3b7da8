"""The most clicked items: the answer before the first model."""

from collections import Counter

from schemas.click import ItemId
from schemas.recommendation import TOP


class PopularItems:
    """Counts clicked items and lists the most clicked ones.

    Memory is bounded: above `capacity` different items, only the `capacity` / 2 most clicked are kept.
    """

    def __init__(self, capacity: int = 200_000) -> None:
        self._capacity = capacity
        self._counts: Counter[ItemId] = Counter()

    def add(self, items: list[ItemId]) -> None:
        """Count one click for each of the items."""
        self._counts.update(items)
        if len(self._counts) > self._capacity:
            self._counts = Counter(dict(self._counts.most_common(self._capacity // 2)))

    def top(self) -> tuple[list[ItemId], list[float]]:
        """The 20 most clicked items, best first, and their counts."""
        best = self._counts.most_common(TOP)
        return [item for item, _ in best], [float(count) for _, count in best]
