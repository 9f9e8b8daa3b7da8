"""The Kafka consumer of the worker: Faust's, with a bulk path and a safe order of steps at a revocation.

The changes and their reasons (Faust's behaviour is in `faust/transport/consumer.py` of faust-streaming 0.15.3):

- `_drain_messages` passes on the records of a fetch as a whole. Faust's makes four tasks per message.
- `on_partitions_revoked` first lets the pipeline finish and commit, then forgets the partitions. Faust's forgets first:
  the last commit is then empty, and the clicks of a commit interval are answered twice.
- Committed offsets come from `stored`: every click below them is answered and stored. Faust's acknowledgements are not
  used.
- `perform_seek` also rewinds partitions without a committed offset, or whose committed offset counts in a log that does
  not exist any more, and gives the source the start of each partition.
- The thread that talks to the broker is ours, see `consumer_thread`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from time import monotonic, time
from typing import Any, NoReturn, Protocol, TypeVar

from aiokafka.errors import KafkaError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from mode.utils.queues import FlowControlEvent

from messaging.clients import secured
from schemas.errors import BrokerError
from schemas.settings import Settings
from worker.delivery.broker_clock import BrokerClock
from worker.delivery.consumer_thread import RETRY_SECONDS, ConsumerThread
from worker.delivery.fetches import Fetch
from worker.delivery.log_watch import LogWatch
from worker.delivery.outage import Outage
from worker.delivery.progress import Progress
from worker.delivery.records import RecordBatch
from worker.delivery.resume import CommitNote, Resumption, StoredOffset, resume
from worker.delivery.source import ClickSource

Value = TypeVar("Value")

FETCH_SECONDS = 0.2
"""How long a fetch waits for records; a rebalance waits for it to end."""

SETTLE_SECONDS = 30.0
"""Longest wait for the clicks before a batch that cannot be read, until they are answered and stored."""


class ConsumingApp(Protocol):
    """What the consumer uses of its app."""

    settings: Settings
    outage: Outage
    clock: BrokerClock
    source: ClickSource
    log_watch: LogWatch
    flow_control: FlowControlEvent
    consumer_generation_id: int
    should_stop: bool
    finish_deliveries: Callable[[], Awaitable[None]]

    @property
    def recovered_generation(self) -> int | None:
        """The last group generation in which states were recovered; None before the first recovery."""
        ...

    def fail(self, error: BaseException) -> NoReturn:
        """End the process with one line."""
        ...


class Consumer(driver.Consumer):
    """Fetches clicks in bulk."""

    app: ConsumingApp
    _thread: ConsumerThread

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._stored: dict[TP, StoredOffset] = {}
        self.progress = Progress()

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
        membership = self._thread.membership
        return membership is not None and membership.lasts()

    def stored(self, tp: TP, next_offset: int, log: str = "", newest: int = 0) -> None:
        """Set the offset for the next commit: everything below it in the partition is answered and stored.

        Args:
            tp: the partition.
            next_offset: the offset.
            log: incarnation of the click log that it counts in; empty if unknown.
            newest: Kafka timestamp of the record before it, ms since 1970 UTC.
        """
        identity = self.app.log_watch.identity
        cluster = identity.cluster_id if identity else ""
        note = CommitNote(log, cluster, min(newest, round(time() * 1000)))
        self._stored[tp] = StoredOffset(next_offset, note)
        self.progress.stored(tp, next_offset)

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
        self.progress.forget(revoked)

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Do nothing: Faust's livelock detector reads its own acknowledgements, which are not used here."""

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Seek to the committed offsets; tries again until the broker answers."""
        return await self._patiently(super().seek_to_committed)

    async def _patiently(
        self, ask: Callable[..., Awaitable[Mapping[TP, Value]]], *partitions: TP
    ) -> Mapping[TP, Value]:
        what = "the offsets to go on from are not known"
        while True:
            try:
                offsets = await ask(*partitions)
            except KafkaError as error:
                if self.should_stop:
                    raise
                self.app.outage.try_again(what, error, self.app.settings)
                await asyncio.sleep(RETRY_SECONDS)
            else:
                self.app.outage.worked(what)
                return offsets

    async def perform_seek(self) -> None:
        """Seek to the committed offset of every partition, or to its first offset if none is committed.

        Faust calls this when states are recovered; the pipeline calls it after it dropped the batches in flight.
        """
        generation = self.app.recovered_generation
        await self.seek_to_committed()
        clicks = [TP(*tp) for tp in self.assignment() if tp.topic == self.app.settings.clicks_topic]
        committed = await self._patiently(self._committed, *clicks)
        sights = await self.app.log_watch.sights([tp.partition for tp in clicks]) if clicks else {}
        positions: dict[TP, int] = {}
        resumptions: dict[TP, Resumption] = {}
        for tp in clicks:
            offset, metadata = committed.get(tp, (None, ""))
            note = CommitNote.read(metadata)
            found = resume(offset, note, sights[tp.partition])
            resumptions[tp], positions[tp] = found, await self._first(tp, found)
            self._tell(tp, offset, note, found, positions[tp])
        if generation == self.group_generation:  # otherwise a rebalance came meanwhile, and its own seek follows
            # Before the seeks: what a halted source gets is dropped, and nobody would miss the last clicks of a topic.
            self.app.source.restart(positions, generation, {tp.partition: r.log for tp, r in resumptions.items()})
            for tp, found in resumptions.items():
                self._go_on(tp, committed.get(tp, (0, "")), found, positions[tp])
                self.progress.stored(tp, positions[tp])
        for tp, position in positions.items():
            await self._seek(tp, position)

    def _go_on(self, tp: TP, committed: tuple[int, str], found: Resumption, first: int) -> None:
        """Note from where the offsets of a partition are committed."""
        self._committed_offset[tp] = first if found.why == "committed" else None
        if found.why == "deleted":  # commit it, so that the loss is told once
            offset, metadata = committed
            self.app.source.lost(tp, offset, first)
            note = CommitNote.read(metadata) or CommitNote()
            self.stored(tp, first, found.log.name, note.time)
        elif found.why != "committed":
            self._stored.pop(tp, None)  # counts in a log that has gone
            self.progress.forget([tp])

    async def answered_up_to(self, partitions: Iterable[int]) -> dict[int, int]:
        """Partition of the clicks topic → the group's committed offset; partitions without one are left out."""
        clicks = [TP(self.app.settings.clicks_topic, number) for number in partitions]
        found = await self._patiently(self._committed, *clicks) if clicks else {}
        return {tp.partition: offset for tp, (offset, _) in found.items()}

    async def _committed(self, *tps: TP) -> Mapping[TP, tuple[int, str]]:
        found: Mapping[TP, tuple[int, str]] = await self._thread.call_thread(self._thread.committed_here, tps)
        return found

    async def _first(self, tp: TP, found: Resumption) -> int:
        if found.since is None:
            return found.offset
        first = await self.app.log_watch.first_since(tp.partition, found.since)
        return found.offset if first is None else min(first, found.offset)

    def _tell(self, tp: TP, committed: int | None, note: CommitNote | None, found: Resumption, first: int) -> None:
        """Say, once, if the committed offset counts in a log that has gone."""
        if found.why == "new log":
            self.app.log_watch.tell_began_anew(note.log if note else "", found.log.name)
        elif found.why in ("truncated", "beyond the end"):
            self.app.log_watch.tell(
                f"{tp.topic} {tp.partition} {found.log.name} {found.why}",
                f"{tp.topic} {tp.partition} ends at offset {found.log.end}, and clicks up to {(committed or 0) - 1} "
                f"were answered: it was truncated, or the group's offset was set too far; reading goes on at {first}",
            )

    async def refresh_metadata(self) -> None:
        """Ask for the topics of the group again."""
        await self._thread.call_thread(self._thread.refresh_metadata)

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
                self._note_fetched(records)
                for tp, fetch in records.items():
                    if not self.flow_active or generation != self.group_generation:
                        break
                    await self._pass_on(
                        RecordBatch(
                            tp.topic,
                            tp.partition,
                            generation,
                            fetch.records,
                            fetch.begins,
                            fetch.next,
                            fetched_at=self.app.clock.now_ms(),
                        )
                    )
                await asyncio.sleep(0)
        except BrokerError as error:
            await self._settle()
            self.app.fail(error)
        except self.consumer_stopped_errors:
            if not self.app.should_stop:
                raise
        except asyncio.CancelledError:  # Faust would treat a stop during a rebalance as a crash
            if not fetcher.should_stop:
                raise

    def _note_fetched(self, records: Mapping[TP, Fetch]) -> None:
        """Count all as under way, before the first of them waits for room in the queue."""
        if self.flow_active:
            for tp, fetch in records.items():
                if tp.topic == self.app.settings.clicks_topic:
                    self.progress.fetched(tp, fetch.next)

    async def _settle(self) -> None:
        """Wait until the clicks that were passed on are answered and stored, then commit."""
        deadline = monotonic() + SETTLE_SECONDS
        while self.progress.under_way() and self.flow_active and monotonic() < deadline:
            await asyncio.sleep(RETRY_SECONDS / 5)
        await self.commit()

    async def _pass_on(self, batch: RecordBatch) -> None:
        queue = self.app.source.queue
        if queue.full() or not self.app.flow_control.is_active():
            await self.wait_first(queue.put(batch), self.suspend_flow.wait())
        else:
            queue.put_nowait(batch)


class Producer(driver.Producer):
    """Faust's producer, with the security of the settings."""

    def _new_producer(self, transactional_id: str | None = None) -> Any:
        return secured(super()._new_producer(transactional_id), self.app.settings, "worker-answers")


class Transport(driver.Transport):
    """Faust's aiokafka transport with the consumer and the producer above."""

    Consumer = Consumer
    Producer = Producer
