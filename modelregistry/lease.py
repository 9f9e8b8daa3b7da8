"""One trainer at a time per model name: a lease that is freed after a crash and does not depend on machine clocks.

The lease uses a Kafka consumer group on the models topic, which has one partition: the member with the partition holds
the lease. Kafka frees it when the holder leaves, or sends no heartbeat for `TIMEOUT_MS` (a crash). Kafka refuses the
commits of a holder that it has excluded from the group, so the holder commits directly before anything is published.
"""

import asyncio
import contextlib
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Literal, Self

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.coordinator.assignors.abstract import AbstractPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata
from aiokafka.errors import KafkaError

from messaging.clients import broker_error, new_consumer, quiet_client_log, stop
from messaging.diagnosis import no_broker
from messaging.failures import kafka_reason, passes
from schemas.errors import BrokerError, TrainingError
from schemas.settings import Settings

TIMEOUT_MS = 12_000
WAIT_SECONDS = 20.0
"""By this time a crashed holder has lost the lease; a holder that still has it is running."""

CHECK_SECONDS = 30.0
STOP_SECONDS = 10.0
Work = Literal["retrain", "refresh", "live"]
WORK: dict[Work, str] = {"retrain": "retraining of", "refresh": "refresh of", "live": "decision about"}
GROUP = "the lease's consumer group cannot be joined"


class Lease:
    """Holds the lease on a model name while the block runs.

    Do not block its event loop for long, or the heartbeats stop. Retraining, refreshing and deciding by live evidence
    have separate leases, so that neither a refresh nor a rollback waits for a training.

    Example:
        >>> async with Lease(settings) as lease:
        ...     bundle = await asyncio.to_thread(train)
        ...     await lease.check()      # directly before work that only one process may do

    Raises:
        TrainingError: another process holds the lease (on entering).
        BrokerError: no broker answers (on entering).
    """

    def __init__(self, settings: Settings, what: Work = "retrain") -> None:
        self._settings = settings
        self._group = f"{settings.app_id}-{what}-{settings.model_name}"
        self._work = WORK[what]
        self._partition = TopicPartition(settings.models_topic, 0)
        self._consumer: AIOKafkaConsumer | None = None
        self._polling: asyncio.Task[None] | None = None
        self._holder = _holder_class()
        self._quiet = contextlib.ExitStack()

    async def __aenter__(self) -> Self:
        self._quiet.enter_context(quiet_client_log())  # while no broker answers; `check` says that the lease was lost
        try:
            await self._acquire()
        except BaseException:
            await self._release()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._release()

    async def check(self) -> None:
        """Check that the lease is still held.

        Raises:
            TrainingError: the lease was lost, because this process sent no heartbeat for too long.
        """
        assert self._consumer is not None, "enter the lease before it is checked"
        deadline = asyncio.get_running_loop().time() + CHECK_SECONDS
        while True:
            try:
                if self._partition in self._consumer.assignment():
                    await self._consumer.commit({self._partition: 0})
                    return
                failure: Exception | None = None
            except (KafkaError, OSError) as error:  # the group is being rebalanced, or the lease is lost
                if not passes(error):
                    raise broker_error(error, self._settings, "the lease cannot be checked") from error
                failure = error
            if asyncio.get_running_loop().time() > deadline:
                raise TrainingError(
                    f"the lease on model {self._settings.model_name!r} was lost, for this process was silent for "
                    "too long: nothing is published; run it again"
                ) from failure
            await asyncio.sleep(0.5)

    async def _acquire(self) -> None:
        settings = self._settings
        consumer = new_consumer(
            settings,
            "lease",
            group_id=self._group,
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
            if not passes(error):
                raise broker_error(error, settings, GROUP) from error
            raise BrokerError(f"{no_broker(settings)} ({kafka_reason(error)})") from error
        self._polling = asyncio.create_task(self._poll(consumer))
        deadline = asyncio.get_running_loop().time() + WAIT_SECONDS
        while self._partition not in consumer.assignment():
            if self._polling.done():
                raise broker_error(self._polling.exception() or RuntimeError("ended"), settings, GROUP)
            if asyncio.get_running_loop().time() > deadline:
                raise TrainingError(
                    f"another {self._work} model {settings.model_name!r} is under way (consumer group "
                    f"{self._group}): wait for it, or end it"
                )
            await asyncio.sleep(0.1)
        self._holder.holding = True

    async def _poll(self, consumer: AIOKafkaConsumer) -> None:
        """Poll to stay in the group; the messages are not used. Ends with an error that does not pass."""
        while True:
            try:
                await consumer.getmany(timeout_ms=1000)
            except KafkaError as error:
                if not passes(error):
                    raise

    async def _release(self) -> None:
        with self._quiet:
            if self._polling is not None:
                self._polling.cancel()
            if self._consumer is not None:
                with contextlib.suppress(Exception):  # else the group's time-out frees it
                    await asyncio.wait_for(stop(self._consumer), STOP_SECONDS)


def _holder_class() -> Any:
    """A partition assignor that leaves the partition with the member whose metadata says `holding`."""

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
            """No state to keep."""

    return Holder
