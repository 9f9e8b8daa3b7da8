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
"""Lists of items come and go with every batch and are never part of a cycle: look for garbage 70 times less often."""


class DeliveryApp(faust.App):
    """A Faust app that moves clicks in bulk.

    Attributes:
        settings: of this worker.
        source: where the agent takes clicks from.
        publisher: where it puts answers and rejected messages.
        changelog: where it puts states; on a connection of its own, so that answers never wait behind states.
        sessions: the table of session states.
        after_step: called after each step of a delivery with its name; a test ends the process there.
        finish_deliveries: set by the pipeline: waits until the micro-batches under way are stored.
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
        """The group generation whose states are recovered; None before the first one."""
        generation: int | None = self.tables.recovery.recovered_generation
        return generation

    def partitions(self) -> list[int]:
        """The partitions of the clicks topic that this worker answers now."""
        try:
            return sorted(tp.partition for tp in self.consumer.assignment() if tp.topic == self.settings.clicks_topic)
        except ConsumerNotStarted:
            return []

    def ready(self) -> bool:
        """Whether clicks are answered: the group counts on this worker, and its states are recovered."""
        return bool(self.tables.actives_ready and not self.rebalancing and self.consumer.is_member())

    def fail(self, error: BaseException) -> NoReturn:
        """End the process at once: what was not stored is delivered again to whoever comes next.

        A known error is one line; the traceback of an unknown one is logged.
        """
        if isinstance(error, NextclickError):
            log.critical("stopping: %s", error)
        else:
            log.critical("stopping on an unexpected error", exc_info=error)
        logging.shutdown()
        os._exit(1)

    def fail_with(self, task: "asyncio.Task[None]") -> None:
        """For a task that must not end by an error unnoticed: end the process then."""
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.fail(error)

    async def crash(self, reason: BaseException) -> None:
        """Faust's way of saying that a part of the app cannot go on."""
        if self.should_stop:
            await super().crash(reason)
        else:
            self.fail(reason)

    def _new_transport(self) -> TransportT:
        return Transport(self.conf.broker_consumer, self)

    async def on_start(self) -> None:
        """Open the changelog's connection; keep what is loaded by now out of Faust's many garbage collections."""
        await super().on_start()
        self._changelog_producer = self.producer._new_producer()
        await self._changelog_producer.start()
        gc.freeze()
        gc.set_threshold(*GARBAGE_THRESHOLDS)

    async def on_stop(self) -> None:
        """Let go of the partitions in order, then close the changelog's connection."""
        await super().on_stop()
        await self._changelog_producer.stop()
