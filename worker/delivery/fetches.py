"""What one fetch has read of a partition: its records, and the offsets that it covers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from faust.types import TP


@dataclass(frozen=True, slots=True)
class Fetch:
    """Records of one partition, fetched together.

    Attributes:
        records: aiokafka's ConsumerRecords in offset order, at least one.
        begins: all offsets from here on were read; an offset without a record has none, or one of an aborted
            transaction. None if unknown.
        next: the offset after the last one that was read, with or without a record.
    """

    records: list[Any]
    begins: int | None
    next: int


class Coverage:
    """Follows where the fetches of each partition go on, so that a hole in the log differs from a lost fetch.

    A fetch goes on where the one before it ended, unless the position was set meanwhile. Fetches in between that had no
    records (only the markers of transactions) were covered as well.
    """

    def __init__(self) -> None:
        self._next: dict[TP, int] = {}

    def forget(self, *partitions: TP) -> None:
        """The positions of these partitions (without arguments: of all) were set by somebody else."""
        for tp in partitions or list(self._next):
            self._next.pop(TP(*tp), None)

    def moved(self, tp: TP, offset: int) -> None:
        """The next fetch begins at this offset."""
        self._next[tp] = offset

    def covered(
        self, fetched: dict[Any, list[Any]], before: dict[TP, int], position: Callable[[Any], int | None]
    ) -> dict[TP, Fetch]:
        """The fetches with what they cover.

        Args:
            fetched: partition → records.
            before: partition → position before the fetch, of partitions that had one.
            position: the position after the fetch.
        """
        found = {}
        for key, records in fetched.items():
            tp, after = TP(*key), position(key)
            if after is None:  # the partition was taken away meanwhile
                after = int(records[-1].offset) + 1
            found[tp] = Fetch(records, self._next.get(tp, before.get(tp)), after)
            self._next[tp] = after
        return found
