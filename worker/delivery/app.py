"""The Faust app with bulk transport, source, table and recovery in place."""

import asyncio
import contextlib
import gc
import logging
import os
import threading
from collections.abc import Awaitable, Callable
from time import monotonic, sleep
from typing import Any, NoReturn

import faust
from aiokafka.errors import IllegalStateError, KafkaError
from faust.app import BootStrategy
from faust.exceptions import ConsumerNotStarted
from faust.types import TP
from faust.types.transports import TransportT

from messaging.clients import broker_error, secured
from messaging.failures import unreadable_batch
from rankers.device import out_of_memory
from schemas.errors import BrokerError, NextclickError, one_line
from schemas.settings import Settings
from worker.delivery import watchdog
from worker.delivery.assignor import CoPartitionedAssignor
from worker.delivery.broker_clock import BrokerClock
from worker.delivery.consumer import Transport
from worker.delivery.consumer_thread import ConsumerThread
from worker.delivery.log_watch import LogWatch
from worker.delivery.outage import Outage
from worker.delivery.publisher import Publisher
from worker.delivery.recovery import BulkTableManager
from worker.delivery.source import ClickSource
from worker.delivery.store import SessionTable
from worker.web import PageServer

log = logging.getLogger(__name__)

MOST_HEARTBEAT_SECONDS = 3.0
"""Longest time between two heartbeats; by default there are eight in a group time-out."""

STOP_SECONDS = 9.0
"""Longest time that a stop may take while no broker answers. Docker kills a process 10 s after it was asked to stop."""

ORDERLY_STOP_SECONDS = 50.0
"""Longest time that it may take while the broker answers, as on a busy machine. Our manifests allow 60 s."""

REQUEST_SECONDS = 90.0
"""Longest wait for an answer of the broker; Faust asks that it is not below the group time-out."""

PRODUCE_SECONDS = 10.0
"""Longest wait for an acknowledgement, then the worker asks who leads now. A leader that is cut off from the other
brokers takes records and never acknowledges them, and meanwhile the batches of all partitions wait. With Kafka's
default of 30 s nothing was answered for 30 s, twice in a minute; with this, for 10 s."""

GARBAGE_THRESHOLDS = (50_000, 20, 100)
"""Batches create no reference cycles, so garbage collection runs 70 times less often than by default."""


class _WithoutFaustsPages(BootStrategy):
    """What Faust starts with the app, but for its web server."""

    enable_web = False


class DeliveryApp(faust.App):
    """A Faust app that moves clicks in bulk.

    Attributes:
        settings: the worker's settings.
        source: the agent takes clicks from it.
        outage: what fails at present and is tried again.
        clock: the broker's time.
        publisher: produces answers and rejected messages.
        changelog: produces states, on a separate connection, so that answers never wait for states.
        log_watch: knows which incarnation of the clicks topic exists.
        sessions: the table of session states.
        after_step: called with the name of each finished step of a delivery; tests end the process there.
        pages: set by the service; the worker's web server.
        finish_deliveries: set by the pipeline; waits until the micro-batches in flight are stored.
    """

    BootStrategy = _WithoutFaustsPages
    pages: PageServer
    finish_deliveries: Callable[[], Awaitable[None]]
    after_step: Callable[[str], None] = staticmethod(lambda _step: None)

    def __init__(self, settings: Settings, **options: Any) -> None:
        self.settings = settings
        self.outage = Outage()
        self.clock = BrokerClock()
        timeout = settings.group_timeout.total_seconds()
        if settings.member_id is not None:  # Faust's default has the web port, and a change of it would move partitions
            options = {"canonical_url": f"http://{settings.member_id}", **options}
        super().__init__(
            settings.app_id,
            broker=[f"kafka://{server}" for server in settings.brokers],
            datadir=str(settings.data_dir / "worker"),
            store="rocksdb://",
            topic_partitions=settings.partitions,
            topic_replication_factor=settings.replication,
            topic_allow_declare=False,
            topic_disable_leader=True,
            consumer_auto_offset_reset="earliest",
            consumer_group_instance_id=settings.member_id,
            broker_session_timeout=timeout,
            broker_heartbeat_interval=min(timeout / 8, MOST_HEARTBEAT_SECONDS),
            broker_request_timeout=max(timeout, REQUEST_SECONDS),
            broker_commit_interval=1.0,
            producer_acks=-1,
            producer_linger=0.0,
            producer_max_batch_size=1 << 20,
            producer_request_timeout=PRODUCE_SECONDS,
            stream_wait_empty=True,
            TableManager=BulkTableManager,
            PartitionAssignor=CoPartitionedAssignor,
            **options,
        )
        self._recovering: asyncio.Task[None] | None = None
        self.source = ClickSource(lambda: self.consumer)
        self.log_watch = LogWatch(settings, self.outage)
        self.publisher = Publisher(lambda: self.producer._ensure_producer(), settings, self.outage, self.clock)
        self.changelog = Publisher(lambda: self._changelog_producer, settings, self.outage, self.clock)
        self.sessions: SessionTable = self.tables.add(
            SessionTable(
                self,
                name="sessions",
                key_type=bytes,
                value_type=bytes,
                partitions=settings.partitions,
                changelog_topic=self.topic(settings.changelog_topic, key_type=bytes, value_type=bytes, acks=False),
            )
        )

    @property
    def recovered_generation(self) -> int | None:
        """The last group generation in which states were recovered; None before the first recovery."""
        generation: int | None = self.tables.recovery.recovered_generation
        return generation

    def click_partitions(self) -> list[TP]:
        """The partitions of the clicks topic that are assigned to this worker."""
        if not self.started:
            return []
        try:
            return sorted(tp for tp in self.consumer.assignment() if tp.topic == self.settings.clicks_topic)
        except ConsumerNotStarted:
            return []

    def partitions(self) -> list[int]:
        """The numbers of `click_partitions`."""
        return [tp.partition for tp in self.click_partitions()]

    def consumer_thread(self) -> ConsumerThread | None:
        """The thread that talks to the broker; None until it is started."""
        if not self.started:
            return None
        thread: ConsumerThread = self.consumer._thread
        return thread if thread.membership is not None else None

    def ready(self) -> bool:
        """Whether clicks are answered: the worker is a member of its group, and its states are recovered."""
        return self.ill_health() is None

    def ill_health(self) -> str | None:
        """Why clicks are not answered at present, in one line; None if they are, or none are for this worker."""
        return watchdog.ill_health(self)

    async def watch_log(self) -> None:
        """Notice a clicks topic that was replaced, truncated, lost or extended, for as long as the worker runs."""
        await self.log_watch.watch(self.source.reading, self._begin_anew, self._refresh_topics)

    async def _begin_anew(self) -> None:
        """Finish the clicks under way, then go on in the log that exists now."""
        self.source.halt()
        await self.finish_deliveries()
        await self.consumer.commit()
        if self.partitions():
            with contextlib.suppress(IllegalStateError):  # revoked meanwhile: the rebalance seeks
                await self.consumer.perform_seek()

    def recover_anew(self) -> None:
        """Recover as after a rebalance: all states are written again to a changelog that has lost them."""
        if self._recovering is None or self._recovering.done():
            self._recovering = asyncio.create_task(self._recover_anew(), name="recovery")
            self._recovering.add_done_callback(self.fail_with)

    async def _recover_anew(self) -> None:
        """Finish the clicks under way, then recover. A rebalance that has begun meanwhile recovers anyway."""
        self.source.halt()
        await self.finish_deliveries()
        await self.consumer.commit()
        if not self.rebalancing and not self.should_stop:
            self.on_rebalance_start()
            self.tables.recovery.signal_recovery_start.set()

    async def _refresh_topics(self) -> None:
        if not self.should_stop:
            await self.consumer.refresh_metadata()

    def fail(self, error: BaseException) -> NoReturn:
        """End the process at once. Clicks that were not stored are delivered again, to the next owner of the partition.

        A `NextclickError`, an error of Kafka and a failed allocation are logged as one line, any other error with its
        traceback.
        """
        if isinstance(error, KafkaError) or unreadable_batch(error) is not None:
            error = broker_error(error, self.settings)
        try:
            if isinstance(error, NextclickError):
                log.critical("stopping: %s", error)
            elif out_of_memory(error):
                log.critical(
                    "stopping: no memory is left (%s): give the worker more, or lower NEXTCLICK_MAX_BATCH (now %d)",
                    one_line(error), self.settings.max_batch,
                )  # fmt: skip
            else:
                log.critical("stopping on an unexpected error", exc_info=error)
            logging.shutdown()
        finally:
            os._exit(1)

    def fail_with(self, task: "asyncio.Task[None]") -> None:
        """Callback for a finished task: end the process if the task failed, or was cancelled and nobody stops it."""
        if task.cancelled():
            error: BaseException | None = None if self.should_stop else BrokerError(_interrupted(task))
        else:
            error = task.exception()
        if error is not None:
            self.fail(error)

    def stop_in_time(self) -> None:
        """End the process if the stop that begins now takes too long.

        Nothing is lost by that: clicks that are not stored are delivered again.
        """
        threading.Thread(target=self._end_in_time, name="stop", daemon=True).start()

    def _end_in_time(self) -> None:
        begin = monotonic()
        sleep(STOP_SECONDS)
        while (
            self.consumer.is_member() and self.outage.longest() is None and monotonic() - begin < ORDERLY_STOP_SECONDS
        ):
            sleep(0.5)
        log.warning("not stopped after %.0f s: ending now; clicks under way are delivered again", monotonic() - begin)
        logging.shutdown()
        os._exit(0)

    async def crash(self, reason: BaseException) -> None:
        """Called by Faust when a part of the app fails: end the process, unless it is stopping already."""
        if self.should_stop:
            await super().crash(reason)
        else:
            self.fail(reason)

    def _new_transport(self) -> TransportT:
        return Transport(self.conf.broker_consumer, self)

    async def on_start(self) -> None:
        """Open the changelog's connection. Exclude loaded objects from garbage collection, and collect less often."""
        await super().on_start()
        self._changelog_producer = secured(self.producer._new_producer(), self.settings, "worker-changelog")
        await self._changelog_producer.start()
        self._watching = asyncio.create_task(watchdog.watch(self))
        self._watching.add_done_callback(self.fail_with)
        gc.freeze()
        gc.set_threshold(*GARBAGE_THRESHOLDS)

    async def on_stop(self) -> None:
        """Give up the partitions in order, then close the changelog's connection."""
        await super().on_stop()
        self._watching.cancel()
        await self._changelog_producer.stop()
        await self.log_watch.close()


def _interrupted(task: "asyncio.Task[None]") -> str:
    return f"a part of the worker was interrupted ({task.get_name()}): start the worker again"
