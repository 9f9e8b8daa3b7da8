"""A topic's id tells its incarnations apart, on a real Kafka."""

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import NewPartitions
from aiokafka.errors import NodeNotReadyError, TopicAuthorizationFailedError

from messaging import topic_identity as module
from messaging.clients import admin, connected
from messaging.contracts import topic_contracts
from messaging.topic_identity import UNKNOWN, TopicIdentity, topic_identity
from messaging.topics import create_topics, existing_topics
from schemas.settings import Settings

Look = Callable[[], Awaitable[TopicIdentity | None]]


async def test_a_topic_created_again_has_another_id(kafka_settings: Settings) -> None:
    topic = kafka_settings.clicks_topic
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka_settings.brokers)
    async with connected(consumer, kafka_settings), admin(kafka_settings) as client:
        first = await topic_identity(consumer, topic)
        assert first is not None
        assert await topic_identity(consumer, topic) == first
        assert (len(first.topic_id), first.partitions, bool(first.cluster_id)) == (22, 4, True)
        await client.create_partitions({topic: NewPartitions(6)})
        await until(consumer, topic, lambda found: found is not None and found.partitions == 6)
        await client.delete_topics([topic])
        await until(consumer, topic, lambda found: found is None)
        assert topic not in await existing_topics(client, [topic])  # asking does not create it
        await create_topics(client, [each for each in topic_contracts(kafka_settings) if each.name == topic])
        await until(consumer, topic, lambda found: found is not None and found.topic_id != first.topic_id)


async def until(consumer: AIOKafkaConsumer, topic: str, holds: Callable[[TopicIdentity | None], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds(await topic_identity(consumer, topic)):
            await asyncio.sleep(0.1)


class Client:
    """A client whose broker gives one answer."""

    def __init__(self, answer: Any, node: int | None = 1) -> None:
        self.answer, self.node = answer, node

    def get_random_node(self) -> int | None:
        return self.node

    async def send(self, _node: int, request: Any) -> Any:
        request.prepare({3: (0, 13 if self.answer else 9)})
        return self.answer


def answer(code: int, topic_id: bytes) -> Any:
    return SimpleNamespace(cluster_id="C", topics=[(code, "clicks", topic_id, False, [(), ()], 0, {})])


async def test_a_broker_without_topic_ids_still_tells_the_partitions(monkeypatch: pytest.MonkeyPatch) -> None:
    async def counts(_consumer: Any, _names: Any) -> dict[str, int]:
        return {"clicks": 3}

    monkeypatch.setattr(module, "partition_counts", counts)
    old: Any = SimpleNamespace(_client=Client(None))
    assert await topic_identity(old, "clicks") == TopicIdentity("", "", 3)
    assert await topic_identity(old, "gone") is None
    without: Any = SimpleNamespace(_client=Client(answer(0, UNKNOWN)))
    assert await topic_identity(without, "clicks") == TopicIdentity("", "C", 2)


async def test_another_error_is_not_taken_for_a_missing_topic() -> None:
    missing, denied, away = (
        SimpleNamespace(_client=Client(answer(3, UNKNOWN))),
        SimpleNamespace(_client=Client(answer(29, UNKNOWN))),
        SimpleNamespace(_client=Client(answer(0, UNKNOWN), None)),
    )
    assert await topic_identity(missing, "clicks") is None  # type: ignore[arg-type]
    with pytest.raises(TopicAuthorizationFailedError):
        await topic_identity(denied, "clicks")  # type: ignore[arg-type]
    with pytest.raises(NodeNotReadyError):
        await topic_identity(away, "clicks")  # type: ignore[arg-type]
