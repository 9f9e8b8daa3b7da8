"""Batches of records: what was fetched together stays together in the worker."""

import time
from dataclasses import dataclass, field, replace
from typing import Any

from faust.types import TP


@dataclass(frozen=True, slots=True)
class RecordBatch:
    """Consecutive records of one partition.

    Attributes:
        topic, partition: where the records were fetched from.
        generation: the group generation of the fetch; in a later one, the partition may belong to another worker.
        records: aiokafka's ConsumerRecords in offset order, at least one.
        begins: the log has no other committed message between this offset and the first record; None: unknown.
        ends: the offset after the last one that the fetch covered; None: the one after the last record.
        fetched_at: when the records were fetched, ms since 1970 UTC.
        arrived: the same by the monotonic clock, in seconds.
    """

    topic: str
    partition: int
    generation: int
    records: list[Any]
    begins: int | None = None
    ends: int | None = None
    fetched_at: int = field(default_factory=lambda: time.time_ns() // 1_000_000, compare=False)
    arrived: float = field(default_factory=time.monotonic, compare=False)

    @property
    def tp(self) -> TP:
        """The partition, as Faust names it."""
        return TP(self.topic, self.partition)

    @property
    def first(self) -> int:
        """Offset of the first record."""
        return int(self.records[0].offset)

    @property
    def next(self) -> int:
        """The offset after the last one that this batch covers, with or without a record."""
        return int(self.records[-1].offset) + 1 if self.ends is None else self.ends

    def split(self, count: int) -> tuple["RecordBatch", "RecordBatch"]:
        """The first `count` records and the rest; both must be non-empty."""
        head, tail = self.records[:count], self.records[count:]
        return (
            replace(self, records=head, ends=None),
            replace(self, records=tail),
        )
