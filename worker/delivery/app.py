"""The Faust app with bulk transport, source, table and recovery in place."""

import asyncio
import gc
import logging
import os
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

import faust
from faust.exceptions import ConsumerNotStarted
from faust.types.transports import TransportT

from schemas.errors import NextclickError
from schemas.settings import Settings
from worker.delivery.consumer import Transport
from worker.delivery.publisher import Publisher
from worker.delivery.recovery import BulkTableManager
from worker.delivery.source import ClickSource
from worker.delivery.store import SessionTable

log = logging.getLogger(__name__)

GARBAGE_THRESHOLDS = (50_000, 20, 100)
"""Batches create no reference cycles, so garbage collection runs 70 times less often than by default."""


class DeliveryApp(faust.App):
    """A Faust app that moves clicks in bulk.

    Attributes:
        settings: the worker's settings.
        source: the agent takes clicks from it.
        publisher: produces answers and rejected messages.
        changelog: produces states, on a separate connection, so that answers never wait for states.
        sessions: the table of session states.
        after_step: called with the name of each finished step of a delivery; tests end the process there.
        finish_deliveries: set by the pipeline; waits until the micro-batches in flight are stored.
    """

    finish_deliveries: Callable[[], Awaitable[None]]
    after_step: Callable[[str], None] = staticmethod(lambda _step: None)

    def __init__(self, settings: Settings, **options: Any) -> None:
        self.settings = settings
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
            broker_session_timeout=settings.group_timeout.total_seconds(),
            broker_heartbeat_interval=settings.group_timeout.total_seconds() / 8,
            broker_commit_interval=1.0,
            producer_acks=-1,
            producer_linger=0.0,
            producer_max_batch_size=1 << 20,
            producer_request_timeout=30.0,
            stream_wait_empty=True,
            TableManager=BulkTableManager,
            **options,
        )
        self.source = ClickSource(lambda: self.consumer)
        self.publisher = Publisher(lambda: self.producer._ensure_producer())
        self.changelog = Publisher(lambda: self._changelog_producer)
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

    def partitions(self) -> list[int]:
        """The partitions of the clicks topic that are assigned to this worker."""
        try:
            return sorted(tp.partition for tp in self.consumer.assignment() if tp.topic == self.settings.clicks_topic)
        except ConsumerNotStarted:
            return []

    def ready(self) -> bool:
        """Whether clicks are answered: the worker is a member of its group, and its states are recovered."""
        return bool(self.tables.actives_ready and not self.rebalancing and self.consumer.is_member())

    def fail(self, error: BaseException) -> NoReturn:
        """End the process at once. Clicks that were not stored are delivered again, to the next owner of the partition.

        A `NextclickError` is logged as one line, any other error with its traceback.
        """
        if isinstance(error, NextclickError):
            log.critical("stopping: %s", error)
        else:
            log.critical("stopping on an unexpected error", exc_info=error)
        logging.shutdown()
        os._exit(1)

    def fail_with(self, task: "asyncio.Task[None]") -> None:
        """Callback for a finished task: end the process if the task failed."""
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.fail(error)

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
        self._changelog_producer = self.producer._new_producer()
        await self._changelog_producer.start()
        gc.freeze()
        gc.set_threshold(*GARBAGE_THRESHOLDS)

    async def on_stop(self) -> None:
        """Give up the partitions in order, then close the changelog's connection."""
        await super().on_stop()
        await self._changelog_producer.stop()
