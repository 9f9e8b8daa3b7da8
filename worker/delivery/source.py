"""Clicks for the agent: complete, in offset order per partition, and only those of the present generation."""

import asyncio
import logging
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from faust.types import TP

from worker.delivery.records import RecordBatch

if TYPE_CHECKING:
    from worker.delivery.app import DeliveryApp

log = logging.getLogger(__name__)


class ClickSource:
    """Takes record batches off the stream's queue and checks that no offset is missing.

    Between the fetcher and the agent records can vanish: queues are cleared around a rebalance. Each partition
    therefore has an expected offset, set when its reading starts. A batch that begins later is refused and the consumer
    goes back; if the same batch comes again, the log really has a hole there (retention, compaction): it is accepted.
    """

    def __init__(self, app: "DeliveryApp") -> None:
        self._app = app
        self.queue: asyncio.Queue[RecordBatch] = asyncio.Queue()
        self._expected: dict[TP, int] = {}
        self._refused: dict[TP, int] = {}
        self._waiting: deque[RecordBatch] = deque()
        self._restarts = 0
        self._halted = False

    def connect(self, queue: "asyncio.Queue[RecordBatch]") -> None:
        """Read from the queue of the agent's stream."""
        self.queue = queue

    def restart(self, positions: Mapping[TP, int]) -> None:
        """Reading begins at these offsets; what is waiting is void."""
        self.halt()
        self._expected = dict(positions)
        self._halted = False

    def halt(self) -> None:
        """Take nothing more until the next `restart`: what follows would leave a hole."""
        self._waiting.clear()
        self._refused.clear()
        self._restarts += 1
        self._halted = True

    @property
    def more_is_waiting(self) -> bool:
        """Whether the last `take` had to leave clicks behind."""
        return bool(self._waiting)

    async def take(self, limit: int) -> list[RecordBatch]:
        """The next clicks, at least one and at most `limit`; what is there is not waited for to grow.

        Raises:
            StopAsyncIteration: the worker is shutting down.
        """
        taken: list[RecordBatch] = []
        room = limit
        restarts = self._restarts
        while room > 0:
            if self._waiting:
                batch = self._waiting.popleft()
            elif taken and self.queue.empty():
                break
            else:
                batch = await self.queue.get()
            if restarts != self._restarts:
                taken, room, restarts = [], limit, self._restarts
            accepted = await self._accept(batch)
            if accepted is None:
                continue
            if len(accepted.records) > room:
                accepted, rest = accepted.split(room)
                self._waiting.appendleft(rest)
            self._expected[TP(accepted.topic, accepted.partition)] = accepted.next
            taken.append(accepted)
            room -= len(accepted.records)
        return taken

    async def _accept(self, batch: RecordBatch) -> RecordBatch | None:
        tp = TP(batch.topic, batch.partition)
        consumer: Any = self._app.consumer
        if self._halted or batch.generation != self._app.consumer_generation_id or not consumer.flow_active:
            return None
        expected = self._expected.get(tp)
        if expected is None or batch.first == expected:
            self._refused.pop(tp, None)
            return batch
        if batch.first < expected:
            done = sum(record.offset < expected for record in batch.records)
            return batch.split(done)[1] if done < len(batch.records) else None
        refused = self._refused.get(tp)
        if batch.first == refused:
            del self._refused[tp]
            log.info("%s %d has no offsets %d to %d", tp.topic, tp.partition, expected, batch.first - 1)
            return batch
        if refused is None or batch.first < refused:
            self._refused[tp] = batch.first
            await consumer.seek(tp, expected)
        return None
