"""Clicks for the agent: complete, in offset order per partition, and only from the current group generation."""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Protocol

from aiokafka.errors import IllegalStateError
from faust.types import TP

from worker.delivery.records import RecordBatch
from worker.delivery.resume import PartitionLog

log = logging.getLogger(__name__)

SEEK_AGAIN_SECONDS = 5.0
"""Wait before a seek without effect is repeated: the seek was lost, or the log begins later by now."""


class ClickFetcher(Protocol):
    """What the source uses of the consumer."""

    flow_active: bool
    """False while partitions are revoked or states are recovered."""

    @property
    def group_generation(self) -> int:
        """The current generation of the worker's consumer group."""
        ...

    async def seek(self, partition: TP, offset: int) -> None:
        """Continue to fetch a partition from this offset.

        Raises:
            IllegalStateError: the partition is not assigned to this worker.
        """
        ...


class ClickSource:
    """Takes record batches from the stream's queue and checks that no offset is missing.

    Records can be lost between the fetcher and the agent, because queues are cleared around a rebalance. Each partition
    therefore has an expected offset, set when reading starts. A batch that begins later is refused, and the consumer
    seeks back. If a batch with the same first offset arrives again, the log itself has a gap (retention), and the batch
    is accepted. Offsets that a fetch has covered without a record are normal: the markers of transactions and the
    messages of aborted ones. They are accepted at once, and counted in `empty_offsets`; those of a gap of the log are
    counted in `lost_offsets`.

    During the recovery after a rebalance, clicks may already be fetched from any position: Faust stops the flow only if
    the worker held partitions before. Such clicks must not be applied: earlier clicks of their sessions, fetched later,
    would count as redelivered and get no answer. So no batch of a generation is taken before the `restart` in it.

    Args:
        consumer: returns the worker's consumer, which Faust creates on first access.
    """

    def __init__(self, consumer: Callable[[], ClickFetcher]) -> None:
        self._consumer = consumer
        self.queue: asyncio.Queue[RecordBatch] = asyncio.Queue()
        self._expected: dict[TP, int] = {}
        self._logs: dict[int, PartitionLog] = {}
        self._refused: dict[TP, tuple[int, float]] = {}  # the refused first offset, time of the last seek back
        self._waiting: deque[RecordBatch] = deque()
        self._generation: int | None = None
        self.empty_offsets = 0
        self.lost_offsets = 0

    def connect(self, queue: "asyncio.Queue[RecordBatch]") -> None:
        """Read from the queue of the agent's stream."""
        self.queue = queue

    @property
    def logs(self) -> Mapping[int, PartitionLog]:
        """Partition → the click log that is read."""
        return self._logs

    def reading(self) -> dict[int, tuple[PartitionLog, int]]:
        """Partition → the click log that is read, and its next offset; empty while nothing is read."""
        if self._generation is None:
            return {}
        return {
            tp.partition: (self._logs[tp.partition], offset)
            for tp, offset in self._expected.items()
            if tp.partition in self._logs
        }

    def restart(
        self, positions: Mapping[TP, int], generation: int | None, logs: Mapping[int, PartitionLog] | None = None
    ) -> None:
        """Start reading at these offsets, in the generation whose states are recovered; drop all waiting batches.

        Args:
            positions: the offsets.
            generation: of the consumer group.
            logs: partition → the click log that its offset counts in.
        """
        self.halt()
        self._expected = dict(positions)
        self._logs = dict(logs or {})
        self._generation = generation

    def halt(self) -> None:
        """Take nothing more until the next `restart`, since clicks before the next batch may have been dropped."""
        self._waiting.clear()
        self._refused.clear()
        self._generation = None

    @property
    def more_is_waiting(self) -> bool:
        """Whether the last `take` left clicks behind."""
        return bool(self._waiting)

    async def take(self, limit: int) -> list[RecordBatch]:
        """The next clicks, at least one and at most `limit`. Waits for the first batch only.

        While it waits it holds no clicks, so a rebalance meanwhile cannot invalidate any.

        Raises:
            StopAsyncIteration: the worker is shutting down.
        """
        taken: list[RecordBatch] = []
        room = limit
        while room > 0:
            if self._waiting:
                batch = self._waiting.popleft()
            elif not taken:
                batch = await self.queue.get()
            elif not self.queue.empty():
                batch = self.queue.get_nowait()
            else:
                break
            to_come = self._to_come(batch)
            if to_come is None:
                continue
            if self._follows_a_hole(to_come):
                if taken:
                    self._waiting.appendleft(to_come)
                    break
                await self._rewind_to_committed(to_come)
                continue
            if len(to_come.records) > room:
                to_come, rest = to_come.split(room)
                self._waiting.appendleft(rest)
            self.empty_offsets += to_come.next - self._expected[to_come.tp] - len(to_come.records)
            self._expected[to_come.tp] = to_come.next
            taken.append(to_come)
            room -= len(to_come.records)
        return taken

    def _to_come(self, batch: RecordBatch) -> RecordBatch | None:
        """The records of a batch that were not taken yet; None if all were, or for another generation or partition."""
        consumer = self._consumer()
        if not (batch.generation == self._generation == consumer.group_generation and consumer.flow_active):
            return None
        expected = self._expected.get(batch.tp)
        if expected is None or batch.next <= expected:
            return None
        done = sum(record.offset < expected for record in batch.records)
        if done == len(batch.records):  # only offsets without a record are left
            self._expected[batch.tp] = batch.next
            return None
        return batch.split(done)[1] if done else batch

    def _follows_a_hole(self, batch: RecordBatch) -> bool:
        expected = self._expected[batch.tp]
        if batch.first == expected or (batch.begins is not None and batch.begins <= expected):
            self._refused.pop(batch.tp, None)
            return False
        if batch.first == self._refused.get(batch.tp, (None,))[0]:
            del self._refused[batch.tp]
            self.lost(batch.tp, expected, batch.first)
            return False
        return True

    def lost(self, tp: TP, first: int, end: int) -> None:
        """Count, and tell, offsets `first` to `end` - 1, which were not read and which the topic has no longer."""
        self.lost_offsets += end - first
        self._expected[tp] = end
        log.error(
            "%s %d has no offsets %d to %d: up to %d clicks are lost, because they were deleted (by the retention, or "
            "by hand) or compacted before they were answered; /metrics counts them as nextclick_lost_offsets",
            tp.topic, tp.partition, first, end - 1, end - first,
        )  # fmt: skip

    async def _rewind_to_committed(self, batch: RecordBatch) -> None:
        """Refuse a batch and seek to the expected offset; batches after it in the same fetches need no further seek."""
        refused, sought = self._refused.get(batch.tp, (batch.first + 1, 0.0))
        if batch.first < refused or monotonic() - sought > SEEK_AGAIN_SECONDS:
            self._refused[batch.tp] = batch.first, monotonic()
            with contextlib.suppress(IllegalStateError):  # a rebalance revoked the partition meanwhile
                await self._consumer().seek(batch.tp, self._expected[batch.tp])
