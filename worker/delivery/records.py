"""Batches of records: what was fetched together stays together in the worker."""

from dataclasses import dataclass
from typing import Any

from faust.types import TP


@dataclass(frozen=True, slots=True)
class RecordBatch:
    """Consecutive records of one partition.

    Attributes:
        topic, partition: where the records were fetched from.
        generation: the group generation of the fetch; in a later one, the partition may belong to another worker.
        records: aiokafka's ConsumerRecords in offset order, at least one.
    """

    topic: str
    partition: int
    generation: int
    records: list[Any]

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
        """The offset after the last record."""
        return int(self.records[-1].offset) + 1

    def split(self, count: int) -> tuple["RecordBatch", "RecordBatch"]:
        """The first `count` records and the rest; both must be non-empty."""
        head, tail = self.records[:count], self.records[count:]
        return (
            RecordBatch(self.topic, self.partition, self.generation, head),
            RecordBatch(self.topic, self.partition, self.generation, tail),
        )
