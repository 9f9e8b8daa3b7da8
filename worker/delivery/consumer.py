"""The Kafka consumer of the worker: Faust's, with a bulk path and a safe order of steps at a revocation.

The changes and their reasons (Faust's behaviour is in `faust/transport/consumer.py` of faust-streaming 0.15.3):

- `_drain_messages` passes on the records of a fetch as a whole. Faust's makes four tasks per message.
- `on_partitions_revoked` first lets the pipeline finish and commit, then forgets the partitions. Faust's forgets first:
  the last commit is then empty, and the clicks of a commit interval are answered twice.
- Committed offsets come from `stored`: every click below them is answered and stored. Faust's acknowledgements are not
  used.
- `perform_seek` also rewinds partitions without a committed offset, and gives the source the start of each partition.
- `_seek` runs on the thread that fetches. Faust's seeks from another thread.
- A commit that fails is tried again. Faust's stops the worker.
- The time of the last heartbeat that the broker acknowledged is kept: see `is_member`.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from time import monotonic
from typing import Any, Protocol

from aiokafka.errors import KafkaError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from mode.utils.queues import FlowControlEvent

from schemas.settings import Settings
from worker.delivery.records import RecordBatch
from worker.delivery.source import ClickSource

log = logging.getLogger(__name__)

FETCH_SECONDS = 0.2
"""How long a fetch waits for records; a rebalance waits for it to end."""

RETRY_SECONDS = 0.5
"""Pause before a request that failed is sent again."""


class ConsumingApp(Protocol):
    """What the consumer uses of its app."""

    settings: Settings
    source: ClickSource
    flow_control: FlowControlEvent
    consumer_generation_id: int
    should_stop: bool
    finish_deliveries: Callable[[], Awaitable[None]]

    @property
    def recovered_generation(self) -> int | None:
        """The last group generation in which states were recovered; None before the first recovery."""
        ...


class ConsumerThread(driver.AIOKafkaConsumerThread):
    """The thread that talks to the broker; it also notes when the broker last acknowledged a heartbeat."""

    last_heartbeat: float = 0.0

    async def on_start(self) -> None:
        """Start the consumer and watch its heartbeats."""
        await super().on_start()
        coordinator = self._ensure_consumer()._coordinator
        beat = coordinator._do_heartbeat

        async def watched_heartbeat() -> bool:
            sent = monotonic()
            acknowledged: bool = await beat()
            if acknowledged:
                self.last_heartbeat = sent
            return acknowledged

        coordinator._do_heartbeat = watched_heartbeat

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """A completed join counts as a heartbeat."""
        self.last_heartbeat = monotonic()
        await super().on_partitions_assigned(assigned, generation_id)

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        """Commit offsets; False if the broker refuses or is silent. The next commit then includes these offsets."""
        consumer = self._ensure_consumer()
        mine = self.assignment()
        wanted = {driver.ensure_aiokafka_TP(tp): offset for tp, offset in offsets.items() if tp in mine}
        try:
            await asyncio.wait_for(consumer.commit(wanted), self.app.settings.group_timeout.total_seconds())
        except (KafkaError, TimeoutError) as error:
            log.warning("offsets not committed, trying again with the next ones: %r", error)
            return False
        return True

    async def seek_here(self, tp: TP, offset: int) -> None:
        """Seek on the thread that fetches. From another thread, a seek during a fetch can be lost."""
        self._ensure_consumer().seek(driver.ensure_aiokafka_TP(tp), offset)


class Consumer(driver.Consumer):
    """Fetches clicks in bulk."""

    app: ConsumingApp
    _thread: ConsumerThread

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._stored: dict[TP, int] = {}

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    @property
    def group_generation(self) -> int:
        """The current generation of the worker's consumer group."""
        return self.app.consumer_generation_id

    def is_member(self) -> bool:
        """Whether the group still counts this worker as a member, by the clock.

        If no heartbeat arrives within the group time-out, the broker gives a worker's partitions to others. A worker
        that was paused for longer must not produce the results that it holds, because another one has gone on by then.
        """
        return monotonic() - self._thread.last_heartbeat < self.app.settings.group_timeout.total_seconds()

    def stored(self, tp: TP, next_offset: int) -> None:
        """Set the offset for the next commit: everything below it in the partition is answered and stored."""
        self._stored[tp] = next_offset

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[TP]:
        return (tp for tp in self._stored if topics is None or tp in topics or tp.topic in topics)

    def _new_offset(self, tp: TP) -> int | None:
        return self._stored.get(tp)

    async def _commit_offsets(self, offsets: Mapping[TP, int], start_new_transaction: bool = True) -> bool:
        """Commit, and keep failed offsets for the next try. Faust's takes them for committed and does not try again."""
        before = {tp: self._committed_offset[tp] for tp in offsets}
        taken: bool = await super()._commit_offsets(offsets, start_new_transaction)
        if not taken:
            self._committed_offset.update({tp: before[tp] for tp in offsets if tp in self._stored})
        return taken

    async def _seek(self, partition: TP, offset: int) -> None:
        await self._thread.call_thread(self._thread.seek_here, partition, offset)

    async def wait_empty(self) -> None:
        """Wait for the micro-batches in flight, then commit. Called before partitions are revoked and at shutdown."""
        await self.app.finish_deliveries()
        await self.commit()

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Finish and commit first, then forget the partitions."""
        await self._on_partitions_revoked(revoked)
        self._active_partitions.difference_update(revoked)
        self._paused_partitions.difference_update(revoked)
        for tp in revoked:
            self._stored.pop(tp, None)
            self._read_offset.pop(tp, None)
            self._committed_offset.pop(tp, None)

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Do nothing: Faust's livelock detector reads its own acknowledgements, which are not used here."""

    async def earliest_offsets(self, *partitions: TP) -> Mapping[TP, int]:
        """The first offset of each partition; tries again until the broker answers."""
        return await self._patiently(super().earliest_offsets, *partitions)

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Seek to the committed offsets; tries again until the broker answers."""
        return await self._patiently(super().seek_to_committed)

    async def _patiently(self, ask: Callable[..., Awaitable[Mapping[TP, int]]], *partitions: TP) -> Mapping[TP, int]:
        while True:
            try:
                return await ask(*partitions)
            except KafkaError as error:
                if self.should_stop or not getattr(error, "retriable", False):
                    raise
                log.warning("asking the broker for offsets again: %r", error)
                await asyncio.sleep(RETRY_SECONDS)

    async def perform_seek(self) -> None:
        """Seek to the committed offset of every partition, or to its first offset if none is committed.

        Faust calls this when states are recovered; the pipeline calls it after it dropped the batches in flight.
        """
        generation = self.app.recovered_generation
        committed: Mapping[TP, int | None] = await self.seek_to_committed()
        clicks = {tp: offset for tp, offset in committed.items() if tp.topic == self.app.settings.clicks_topic}
        fresh = [tp for tp, offset in clicks.items() if offset is None or offset < 0]
        beginnings = await self.earliest_offsets(*fresh) if fresh else {}
        positions: dict[TP, int] = {}
        for tp, offset in clicks.items():
            if tp in beginnings:
                await self._seek(tp, beginnings[tp])
                positions[TP(*tp)] = beginnings[tp]
            else:
                assert offset is not None
                positions[TP(*tp)] = offset
                self._committed_offset[TP(*tp)] = offset
        if generation == self.group_generation:  # otherwise a rebalance came meanwhile, and its own seek follows
            self.app.source.restart(positions, generation)

    async def _drain_messages(self, fetcher: Any) -> None:
        try:
            while not (self.should_stop or fetcher.should_stop):
                if not self.flow_active:
                    await self.wait(self.can_resume_flow)
                    continue
                active = self._get_active_partitions()
                if not active:
                    await self.sleep(FETCH_SECONDS / 10)
                    continue
                records = await self._getmany(active, FETCH_SECONDS)
                generation = self.group_generation
                for tp, fetched in records.items():
                    if not self.flow_active or generation != self.group_generation:
                        break
                    await self._pass_on(RecordBatch(tp.topic, tp.partition, generation, fetched))
                await asyncio.sleep(0)
        except self.consumer_stopped_errors:
            if not self.app.should_stop:
                raise
        except asyncio.CancelledError:  # Faust would treat a stop during a rebalance as a crash
            if not fetcher.should_stop:
                raise

    async def _pass_on(self, batch: RecordBatch) -> None:
        queue = self.app.source.queue
        if queue.full() or not self.app.flow_control.is_active():
            await self.wait_first(queue.put(batch), self.suspend_flow.wait())
        else:
            queue.put_nowait(batch)


class Transport(driver.Transport):
    """Faust's aiokafka transport with the consumer above."""

    Consumer = Consumer
