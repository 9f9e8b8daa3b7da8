"""How far each partition of a consumer is: fetched, and answered and stored."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from time import monotonic

from faust.types import TP


@dataclass
class _Partition:
    fetched: int | None = None
    stored: int | None = None
    moved: float = 0.0  # when `stored` last changed, or nothing was waiting


class Progress:
    """Offsets fetched and stored, and since when a partition does not move although clicks are waiting.

    Args:
        clock: the time in seconds; tests pass their own.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._partitions: dict[TP, _Partition] = {}

    def fetched(self, tp: TP, next_offset: int) -> None:
        """All clicks below this offset were fetched, to be answered."""
        self._of(tp).fetched = next_offset

    def stored(self, tp: TP, next_offset: int) -> None:
        """All clicks below this offset are answered and stored."""
        partition = self._of(tp)
        partition.stored, partition.moved = next_offset, self._clock()

    def fetched_up_to(self, tp: TP) -> int | None:
        """All clicks below this offset were fetched; None: unknown."""
        partition = self._partitions.get(TP(*tp))
        return None if partition is None else partition.fetched

    def forget(self, partitions: Iterable[TP]) -> None:
        """These partitions belong to others now."""
        for tp in partitions:
            self._partitions.pop(TP(*tp), None)

    def under_way(self) -> bool:
        """Whether clicks were fetched that are not stored yet."""
        return any(map(_is_under_way, self._partitions.values()))

    def look(self, tp: TP, position: int | None, end: int | None) -> None:
        """Note whether clicks of a partition are waiting. Called about once a second for each partition.

        Args:
            tp: the partition.
            position: the offset that is fetched next; None: unknown.
            end: the end of the partition, as last seen; None: unknown.
        """
        partition = self._of(tp)
        if _is_done(partition, position, end):
            partition.moved = self._clock()

    def lag(self, tp: TP, position: int | None, end: int | None) -> int | None:
        """How many offsets of a partition are not answered and stored yet; None: unknown. For the arguments see `look`.

        The last offsets may have no message, as the marker of a transaction: they are fetched and never stored.
        """
        partition = self._partitions.get(TP(*tp))
        if partition is None or partition.stored is None or end is None:
            return None
        return 0 if _is_done(partition, position, end) else max(end - partition.stored, 0)

    def excuse(self) -> None:
        """Clicks may wait, as during a recovery: the time begins anew."""
        for partition in self._partitions.values():
            partition.moved = self._clock()

    def stuck(self) -> tuple[TP, float] | None:
        """The partition that has not moved for the longest time, and for how many seconds; None without partitions."""
        if not self._partitions:
            return None
        tp, partition = min(self._partitions.items(), key=lambda item: item[1].moved)
        return tp, self._clock() - partition.moved

    def _of(self, tp: TP) -> _Partition:
        key = TP(*tp)
        if key not in self._partitions:
            self._partitions[key] = _Partition(moved=self._clock())
        return self._partitions[key]


def _is_under_way(partition: _Partition) -> bool:
    return partition.fetched is not None and (partition.stored is None or partition.stored < partition.fetched)


def _is_done(partition: _Partition, position: int | None, end: int | None) -> bool:
    return position is not None and end is not None and position >= end and not _is_under_way(partition)
