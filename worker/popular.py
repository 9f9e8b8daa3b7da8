"""The most clicked items: the answer before the first model."""

from collections import Counter

from schemas.click import ItemId
from schemas.recommendation import TOP


class PopularItems:
    """Counts clicked items and lists the most clicked ones.

    Memory is bounded: above `capacity` different items, only the `capacity` / 2 most clicked are kept. Time is bounded,
    too: only items that were clicked can enter the list, so a batch is compared with the list, not with all items.
    """

    def __init__(self, capacity: int = 200_000) -> None:
        self._capacity = capacity
        self._counts: Counter[ItemId] = Counter()
        self._top: list[ItemId] = []

    def add(self, items: list[ItemId]) -> None:
        """Count one click for each of the items; ids in the form of `canonical_id`."""
        counts = self._counts
        counts.update(items)
        candidates = dict.fromkeys(self._top + items)  # on equal counts the listed item comes first
        self._top = sorted(candidates, key=counts.__getitem__, reverse=True)[:TOP]
        if len(counts) > self._capacity:
            listed = [(item, counts[item]) for item in self._top]
            kept = sorted(counts.items(), key=_count, reverse=True)[: self._capacity // 2]
            self._counts = Counter(dict(listed + kept))

    def top(self) -> tuple[list[ItemId], list[float]]:
        """The 20 most clicked items, best first, and their counts."""
        return list(self._top), [float(self._counts[item]) for item in self._top]


def _count(entry: tuple[ItemId, int]) -> int:
    return entry[1]
