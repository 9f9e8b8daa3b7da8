"""The models topic: announcements, shadows, decisions and live evidence, read and written over one connection.

async with ModelsTopic(settings) as topic:
    state = await topic.read()                       # the serving version, the decisions
    await topic.announce(announcement)
"""

from datetime import UTC, datetime
from types import TracebackType
from typing import Literal, Self

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from messaging.clients import kafka_errors, new_consumer, new_producer, start, stop
from messaging.topics import check_topics_of
from modelregistry.models_state import Message, ModelsState, serving_key, shadow_key, version_key
from schemas.announcement import ModelAnnouncement
from schemas.decision import Decision
from schemas.settings import Settings

POLL_MILLISECONDS = 500

FETCH_MILLISECONDS = 50
"""How long the broker holds a fetch at the end of the topic. The broker answers a connection's requests in order, so
`read` waits this long for the end offset, which it asks for after such a fetch. Kafka's default is 500."""

BATCH_BYTES = 1_000_000
"""Largest record batch; brokers accept 1 MiB by default."""


class ModelsTopic:
    """The models topic, for one model name. Every method raises BrokerError if Kafka refuses or does not answer.

    It may stay open for hours: `read` fetches the messages since the last call. The first message sent starts the
    producer.

    Args:
        settings: the broker, the topic and the model name.
        others: further topics to check on entering.

    Raises:
        BrokerError: no broker answers (on entering).
        TopicError: a topic is missing, or has another partition count than the settings say (on entering).
    """

    def __init__(self, settings: Settings, *others: str) -> None:
        self._settings = settings
        self._checked = (settings.models_topic, *others)
        self._partition = TopicPartition(settings.models_topic, 0)
        self._messages: list[Message] = []
        self._consumer: AIOKafkaConsumer | None = None
        self._producer: AIOKafkaProducer | None = None

    async def __aenter__(self) -> Self:
        self._consumer = new_consumer(self._settings, "models", fetch_max_wait_ms=FETCH_MILLISECONDS)
        try:
            with kafka_errors(self._settings):
                await start(self._consumer, self._settings)
                await check_topics_of(self._consumer, self._settings, self._checked)
                self._consumer.assign([self._partition])
                await self._consumer.seek_to_beginning(self._partition)
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop()

    async def read(self) -> ModelsState:
        """The present state of the topic."""
        assert self._consumer is not None, "enter the topic before it is read"
        with kafka_errors(self._settings):
            self._messages += await read_to_end(self._consumer, self._partition)
        return ModelsState.of(self._settings.model_name, self._messages)

    async def announce(self, announcement: ModelAnnouncement, decision: Decision | None = None) -> None:
        """Make the workers serve a version, and record why.

        The announcement also gets a key of its version, so that compaction keeps it for a rollback, even if another
        process announces at the same moment. Refreshes that are no longer needed lose that key, see
        `ModelsState.forgettable`.
        """
        state, name = await self.read(), self._settings.model_name
        before = state.serving
        messages: list[Message] = []
        if before is not None and before.version != announcement.version:
            kept = version_key(name, before.version), _encoded(before)
            if kept not in self._messages:  # announced by nextclick 0.2.0 or older
                messages.append(kept)
        messages.append((version_key(name, announcement.version), _encoded(announcement)))
        messages.append((serving_key(name), _encoded(announcement)))
        forgotten = [(version_key(name, version), None) for version in state.forgettable(announcement)]
        await self._send(*messages, *forgotten, *_record(decision))

    async def score_shadow(
        self,
        announcement: ModelAnnouncement,
        role: Literal["challenger", "former"],
        decision: Decision | None = None,
    ) -> None:
        """Make the workers score a version at the models URI next to the serving one, and record why."""
        shadow = announcement.model_copy(update={"announced_at": datetime.now(UTC), "role": role})
        await self._send((shadow_key(self._settings.model_name), _encoded(shadow)), *_record(decision))

    async def end_shadow(self, decision: Decision | None = None) -> None:
        """Make the workers stop scoring a shadow, and record why."""
        await self._send((shadow_key(self._settings.model_name), None), *_record(decision))

    async def record(self, decision: Decision) -> None:
        """Put a decision on the topic. Each has its own key, so that compaction keeps all of them."""
        await self._send(*_record(decision))

    async def _send(self, *messages: Message) -> None:
        """Send messages as one record batch, of which Kafka stores all or nothing."""
        with kafka_errors(self._settings):
            if self._producer is None:
                client = new_producer(self._settings, "models", max_batch_size=BATCH_BYTES)
                try:
                    await start(client, self._settings)
                except BaseException:
                    await stop(client)
                    raise
                self._producer = client
            batch = self._producer.create_batch()
            if all(batch.append(timestamp=None, key=key, value=value) for key, value in messages):
                await (await self._producer.send_batch(batch, self._settings.models_topic, partition=0))
                return
            for key, value in messages:  # spans of thousands of partitions do not fit into one batch
                await self._producer.send_and_wait(self._settings.models_topic, value, key=key, partition=0)

    async def _stop(self) -> None:
        for client in (self._producer, self._consumer):
            if client is not None:
                await stop(client)


async def models_state(settings: Settings) -> ModelsState:
    """The present state of the topic, read over a new connection.

    Raises:
        BrokerError, TopicError: the topic cannot be read.
    """
    async with ModelsTopic(settings) as topic:
        return await topic.read()


async def read_to_end(consumer: AIOKafkaConsumer, partition: TopicPartition) -> list[Message]:
    """The messages from the consumer's position to the partition's present end, without messages that have no key.

    Args:
        consumer: assigned only to this partition.
        partition: of the models topic.
    """
    end = (await consumer.end_offsets([partition]))[partition]
    found: list[Message] = []
    while await consumer.position(partition) < end:
        records = (await consumer.getmany(partition, timeout_ms=POLL_MILLISECONDS)).get(partition, [])
        found += [(record.key, record.value) for record in records if record.key is not None]
    return found


def _record(decision: Decision | None) -> list[Message]:
    return [] if decision is None else [(decision.key, decision.model_dump_json().encode())]


def _encoded(announcement: ModelAnnouncement) -> bytes:
    return announcement.model_dump_json(exclude=None if announcement.role else {"role"}).encode()
