"""How the incarnations of a topic's log are named, and how a truncation is noticed.

An incarnation is named by the topic id (`messaging.topic_identity`); after the n-th truncation of a partition by the
topic id, a full stop and n. The name is empty if the broker knows no topic ids.
"""

from collections.abc import Mapping
from typing import Generic, TypeVar

MARGIN_MS = 60_000
"""A truncated log is read again from this long before the newest stored click: clocks of producers differ."""

Partition = TypeVar("Partition")


def topic_id_of(log: str) -> str:
    """The topic id in the name of an incarnation."""
    return log.partition(".")[0]


def truncations_of(log: str) -> int:
    """How often the partition was truncated before this incarnation."""
    return int(log.partition(".")[2] or 0)


def after_truncation(log: str) -> str:
    """The name of what one more truncation leaves of an incarnation; empty if the incarnation has no name."""
    return f"{topic_id_of(log)}.{truncations_of(log) + 1}" if log else ""


class TruncationWatch(Generic[Partition]):
    """Notices that a log ends before what was read of it.

    A single end may come from a broker that lags behind. So a partition counts as truncated when it is seen so twice in
    a row.
    """

    def __init__(self) -> None:
        self._short: set[Partition] = set()

    def truncated(self, read: Mapping[Partition, int], ends: Mapping[Partition, int]) -> bool:
        """Whether a partition is truncated.

        Args:
            read: partition → the offset after the last one that was read, taken before the ends were asked for.
            ends: partition → the offset where its log ends.
        """
        short = {partition for partition, offset in read.items() if ends[partition] < offset}
        twice, self._short = short & self._short, short
        return bool(twice)
