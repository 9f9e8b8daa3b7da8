"""Clicks for the agent: complete, in offset order per partition, and only those of the present generation."""

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

log = logging.getLogger(__name__)

SEEK_AGAIN_SECONDS = 5.0
"""After a seek that brought nothing: it was lost, or the log begins later by now."""


class ClickFetcher(Protocol):
    """What the source asks of the consumer."""

    flow_active: bool
    """False while partitions are taken away or states are recovered."""

    @property
    def group_generation(self) -> int:
        """The generation of the consumer group that this worker is in."""
        ...

    async def seek(self, partition: TP, offset: int) -> None:
        """Fetch a partition from this offset on.

        Raises:
            IllegalStateError: the partition is not assigned to this worker.
        """
        ...


class ClickSource:
    """Takes record batches off the stream's queue and checks that no offset is missing.

    Between the fetcher and the agent records can vanish: queues are cleared around a rebalance. Each partition
    therefore has an expected offset, set when its reading starts. A batch that begins later is refused and the consumer
    goes back; if the same batch comes again, the log really has a hole there (retention, compaction): it is accepted.

    While the table is recovered after a rebalance, clicks may be fetched already, from wherever the consumer stood:
    Faust stops the flow only of a worker that held partitions before. Taking them would carry sessions past clicks that
    are still to come, which would then count as redelivered and stay without an answer. So nothing of a generation is
    taken before the `restart` in that generation.

    Args:
        consumer: gives the consumer of the worker, which Faust makes when it is first asked for.
    """

    def __init__(self, consumer: Callable[[], ClickFetcher]) -> None:
        self._consumer = consumer
        self.queue: asyncio.Queue[RecordBatch] = asyncio.Queue()
        self._expected: dict[TP, int] = {}
        self._refused: dict[TP, tuple[int, float]] = {}  # the first offset, and when it was last sought back from
        self._waiting: deque[RecordBatch] = deque()
        self._generation: int | None = None

    def connect(self, queue: "asyncio.Queue[RecordBatch]") -> None:
        """Read from the queue of the agent's stream."""
        self.queue = queue

    def restart(self, positions: Mapping[TP, int], generation: int | None) -> None:
        """Reading begins at these offsets, in the generation whose states are recovered; what is waiting is void."""
        self.halt()
        self._expected = dict(positions)
        self._generation = generation

    def halt(self) -> None:
        """Take nothing more until the next `restart`: what follows would leave a hole."""
        self._waiting.clear()
        self._refused.clear()
        self._generation = None

    @property
    def more_is_waiting(self) -> bool:
        """Whether the last `take` had to leave clicks behind."""
        return bool(self._waiting)

    async def take(self, limit: int) -> list[RecordBatch]:
        """The next clicks, at least one and at most `limit`; what is there is not waited for to grow.

        Nothing is held while this waits: a rebalance in between can void nothing that is taken already.

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
            self._expected[to_come.tp] = to_come.next
            taken.append(to_come)
            room -= len(to_come.records)
        return taken

    def _to_come(self, batch: RecordBatch) -> RecordBatch | None:
        """What of a batch was not taken yet; None for one of another generation or of a partition that is not ours."""
        consumer = self._consumer()
        if not (batch.generation == self._generation == consumer.group_generation and consumer.flow_active):
            return None
        expected = self._expected.get(batch.tp)
        if expected is None or batch.next <= expected:
            return None
        done = sum(record.offset < expected for record in batch.records)
        return batch.split(done)[1] if done else batch

    def _follows_a_hole(self, batch: RecordBatch) -> bool:
        expected = self._expected[batch.tp]
        if batch.first == expected:
            self._refused.pop(batch.tp, None)
            return False
        if batch.first == self._refused.get(batch.tp, (None,))[0]:
            del self._refused[batch.tp]
            log.warning("%s %d has no offsets %d to %d", batch.topic, batch.partition, expected, batch.first - 1)
            return False
        return True

    async def _rewind_to_committed(self, batch: RecordBatch) -> None:
        """Refuse a batch and fetch from the expected offset; what was fetched after it needs no seek of its own."""
        refused, sought = self._refused.get(batch.tp, (batch.first + 1, 0.0))
        if batch.first < refused or monotonic() - sought > SEEK_AGAIN_SECONDS:
            self._refused[batch.tp] = batch.first, monotonic()
            with contextlib.suppress(IllegalStateError):  # a rebalance took the partition meanwhile
                await self._consumer().seek(batch.tp, self._expected[batch.tp])
