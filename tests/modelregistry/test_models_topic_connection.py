"""The connection to the models topic, without a Kafka: what belongs together is one batch, and clients are closed."""

from collections.abc import Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError, TopicAuthorizationFailedError

from modelregistry import models_topic as module
from modelregistry.models_state import serving_key, version_key
from modelregistry.models_topic import ModelsTopic
from schemas.announcement import ModelAnnouncement
from schemas.errors import BrokerError
from schemas.settings import Settings

SETTINGS = Settings(_env_file=None, model_name="m")
PARTITION = TopicPartition(SETTINGS.models_topic, 0)
Record = tuple[bytes | None, bytes | None]


class Kafka:
    """A models topic: `batches` has what was sent, each list in one batch or record."""

    def __init__(self) -> None:
        self.batches: list[list[Record]] = []
        self.most = 100  # records of a batch
        self.clients: list[Client] = []
        self.start_error: Exception | None = None
        self.stop_error: Exception | None = None

    def records(self) -> list[Record]:
        return [record for batch in self.batches for record in batch]

    def client(self, _settings: Settings, _role: str, **options: Any) -> "Client":
        self.clients.append(Client(self, options))
        return self.clients[-1]


class Client:
    """aiokafka's consumer and producer."""

    def __init__(self, kafka: Kafka, options: dict[str, Any]) -> None:
        self.kafka, self.options, self.at, self.started, self.stopped = kafka, options, 0, False, False

    async def stop(self) -> None:
        self.stopped = True
        if self.kafka.stop_error is not None:
            raise self.kafka.stop_error

    def assign(self, partitions: list[TopicPartition]) -> None:
        assert partitions == [PARTITION]

    async def seek_to_beginning(self, _partition: TopicPartition) -> None:
        self.at = 0

    async def end_offsets(self, _partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        return {PARTITION: len(self.kafka.records())}

    async def position(self, _partition: TopicPartition) -> int:
        return self.at

    async def getmany(self, _partition: TopicPartition, timeout_ms: int) -> dict[TopicPartition, list[Any]]:
        assert 0 < timeout_ms <= 1000
        records = self.kafka.records()[self.at : self.at + 2]
        self.at += len(records)
        return {PARTITION: [SimpleNamespace(key=key, value=value) for key, value in records]}

    def create_batch(self) -> "Batch":
        return Batch(self.kafka.most)

    async def send_batch(self, batch: "Batch", topic: str, partition: int) -> Any:
        assert (topic, partition) == PARTITION
        self.kafka.batches.append(batch.records)
        return _acknowledged()

    async def send_and_wait(self, topic: str, value: bytes | None, key: bytes, partition: int) -> None:
        assert (topic, partition) == PARTITION
        self.kafka.batches.append([(key, value)])


class Batch:
    def __init__(self, most: int) -> None:
        self.most, self.records = most, list[Record]()

    def append(self, *, timestamp: None, key: bytes, value: bytes | None) -> object:
        assert timestamp is None
        if len(self.records) == self.most:
            return None
        self.records.append((key, value))
        return object()


async def _acknowledged() -> None:
    pass


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Iterator[Kafka]:
    broker = Kafka()

    async def start(client: Client, _settings: Settings) -> None:
        client.started = True
        if broker.start_error is not None:
            raise broker.start_error

    async def check(_consumer: Client, _settings: Settings, topics: tuple[str, ...]) -> None:
        assert topics[0] == SETTINGS.models_topic

    monkeypatch.setattr(module, "new_consumer", broker.client)
    monkeypatch.setattr(module, "new_producer", broker.client)
    monkeypatch.setattr(module, "start", start)
    monkeypatch.setattr(module, "check_topics_of", check)
    yield broker
    assert all(client.stopped for client in broker.clients), "a client was not closed"


def announcement(version: str) -> ModelAnnouncement:
    return ModelAnnouncement(
        name="m", version=version, uri=f"/models/{version}", sha256="0" * 64, announced_at=datetime.now(UTC)
    )


async def test_an_announcement_is_one_batch_over_one_producer(broker: Kafka) -> None:
    async with ModelsTopic(SETTINGS) as topic:
        assert len(broker.clients) == 1  # the first message starts the producer
        await topic.announce(announcement("v2"))
        await topic.announce(announcement("v1"))
        await topic.score_shadow(announcement("v2"), "former")
        assert len(broker.clients) == 2
        assert [[key for key, _ in batch] for batch in broker.batches] == [
            [version_key("m", "v2"), b"m"],
            [version_key("m", "v1"), b"m"],
            [b"m/shadow"],
        ]
        state = await topic.read()
    assert [one.version for one in state.history] == ["v2", "v1"]


@pytest.mark.parametrize(("before", "now"), [("v1", "v2"), ("v2", "v1")])
async def test_an_announcement_of_0_2_0_gets_its_key_when_it_is_replaced(broker: Kafka, before: str, now: str) -> None:
    old = announcement(before).model_dump_json(exclude={"role"}).encode()
    broker.batches.append([(None, b"no key"), (serving_key("m"), old)])
    async with ModelsTopic(SETTINGS) as topic:
        await topic.announce(announcement(now))
        await topic.announce(announcement(now))
    assert broker.batches[1][0] == (version_key("m", before), old)
    assert [len(batch) for batch in broker.batches[1:]] == [3, 2]


async def test_messages_that_do_not_fit_into_a_batch_are_sent_one_by_one(broker: Kafka) -> None:
    broker.most = 1
    async with ModelsTopic(SETTINGS) as topic:
        await topic.announce(announcement("v1"))
    assert [[key for key, _ in batch] for batch in broker.batches] == [[version_key("m", "v1")], [b"m"]]


async def test_clients_that_cannot_connect_are_closed(broker: Kafka) -> None:
    broker.start_error = TopicAuthorizationFailedError("models")
    with pytest.raises(BrokerError):
        async with ModelsTopic(SETTINGS):
            pytest.fail("entered")
    broker.start_error = None
    async with ModelsTopic(SETTINGS) as topic:
        broker.start_error = TopicAuthorizationFailedError("models")
        with pytest.raises(BrokerError):
            await topic.end_shadow()
        broker.start_error = None
        await topic.end_shadow()
    assert broker.batches == [[(b"m/shadow", None)]]


async def test_a_connection_that_is_lost_at_the_end_is_no_error(broker: Kafka) -> None:
    async with ModelsTopic(SETTINGS) as topic:
        await topic.end_shadow()
        broker.stop_error = KafkaConnectionError("away")
