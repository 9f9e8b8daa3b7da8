"""One trainer at a time per model name: a lease that survives a crash, without anybody's clock.

The lease is the membership of a Kafka consumer group that follows the models topic, which has one partition: who is
assigned it holds the lease. Kafka frees it when the holder leaves, or is silent for `TIMEOUT_MS` (a crash); and a
holder that was thought dead finds its commits refused, which is asked right before anything is published.
"""

import asyncio
import contextlib
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Literal, Self

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.coordinator.assignors.abstract import AbstractPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata
from aiokafka.errors import KafkaError

from messaging.clients import kafka_reason, no_broker, quiet_client_log
from schemas.errors import BrokerError, TrainingError
from schemas.settings import Settings

TIMEOUT_MS = 12_000
WAIT_SECONDS = 20.0
"""A crashed holder is gone by then; one that lives is not."""

ASK_SECONDS = 30.0


class Lease:
    """Holds the lease of a model name while the block runs, from a thread of its own.

    Retraining has one lease, deciding by live evidence another: a rollback does not wait for a training.

    Example:
        >>> with Lease(settings) as lease:
        ...     train()
        ...     lease.check()      # right before what only one may do

    Raises:
        TrainingError: another retraining of this name is under way.
        BrokerError: no broker answers.
    """

    def __init__(self, settings: Settings, what: Literal["retrain", "live"] = "retrain") -> None:
        self._settings = settings
        self._group = f"{settings.app_id}-{what}-{settings.model_name}"
        self._work = "retraining of" if what == "retrain" else "decision about"
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="lease", daemon=True)
        self._partition = TopicPartition(settings.models_topic, 0)
        self._consumer: AIOKafkaConsumer | None = None
        self._polling: asyncio.Task[None] | None = None
        self._holder = _holder_class()

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self._call(self._acquire())
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def check(self) -> None:
        """Make sure that the lease is still held.

        Raises:
            TrainingError: it was lost, for this process was silent for too long.
            BrokerError: no broker answers.
        """
        self._call(self._check())

    def _call(self, work: Any) -> None:
        with quiet_client_log():
            asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _end(self) -> None:
        with contextlib.suppress(Exception):
            self._call(self._release())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _acquire(self) -> None:
        settings = self._settings
        consumer = AIOKafkaConsumer(
            bootstrap_servers=settings.brokers,
            client_id=self._group,
            group_id=self._group,
            enable_auto_commit=False,
            auto_offset_reset="latest",
            session_timeout_ms=TIMEOUT_MS,
            heartbeat_interval_ms=2000,
            max_poll_interval_ms=60_000,
            partition_assignment_strategy=[self._holder],
        )
        consumer.subscribe([settings.models_topic])
        self._consumer = consumer
        try:
            await asyncio.wait_for(consumer.start(), WAIT_SECONDS * 2)
        except TimeoutError:
            raise BrokerError(no_broker(settings)) from None
        except (KafkaError, OSError) as error:
            raise BrokerError(f"{no_broker(settings)} ({kafka_reason(error)})") from error
        self._polling = asyncio.create_task(self._poll(consumer))
        deadline = self._loop.time() + WAIT_SECONDS
        while self._partition not in consumer.assignment():
            if self._loop.time() > deadline:
                raise TrainingError(
                    f"another {self._work} model {settings.model_name!r} is under way (consumer group "
                    f"{self._group}): wait for it, or end it"
                )
            await asyncio.sleep(0.1)
        self._holder.holding = True

    async def _poll(self, consumer: AIOKafkaConsumer) -> None:
        """Keep the membership alive; what is on the topic does not matter here."""
        while True:
            with contextlib.suppress(KafkaError):
                await consumer.getmany(timeout_ms=1000)

    async def _check(self) -> None:
        assert self._consumer is not None
        deadline = self._loop.time() + ASK_SECONDS
        while True:
            try:
                if self._partition in self._consumer.assignment():
                    await self._consumer.commit({self._partition: 0})
                    return
                failure: Exception | None = None
            except (KafkaError, OSError) as error:  # the group is being rebalanced, or the lease is lost
                failure = error
            if self._loop.time() > deadline:
                raise TrainingError(
                    f"the lease on model {self._settings.model_name!r} was lost, for this process was silent for too "
                    "long: nothing is published; run it again"
                ) from failure
            await asyncio.sleep(0.5)

    async def _release(self) -> None:
        if self._polling is not None:
            self._polling.cancel()
        if self._consumer is not None:
            await asyncio.wait_for(self._consumer.stop(), 10)


def _holder_class() -> Any:
    """An assignor of one's own that leaves the partition with the member that says it holds it."""

    class Holder(AbstractPartitionAssignor):  # type: ignore[misc]
        name = "nextclick-lease"
        holding = False

        @classmethod
        def assign(
            cls, _cluster: Any, members: Mapping[str, ConsumerProtocolMemberMetadata]
        ) -> dict[str, ConsumerProtocolMemberAssignment]:
            holders = sorted(member for member, about in members.items() if about.user_data == b"holding")
            chosen = holders[0] if holders else min(members)
            return {
                member: ConsumerProtocolMemberAssignment(
                    0, [(topic, [0]) for topic in about.subscription] if member == chosen else [], b""
                )
                for member, about in members.items()
            }

        @classmethod
        def metadata(cls, topics: Any) -> ConsumerProtocolMemberMetadata:
            return ConsumerProtocolMemberMetadata(0, list(topics), b"holding" if cls.holding else b"")

        @classmethod
        def on_assignment(cls, assignment: Any) -> None:
            """Nothing to remember."""

    return Holder
