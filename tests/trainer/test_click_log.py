import asyncio
import json
import os
from collections.abc import Iterator

import pytest
from aiokafka import AIOKafkaProducer

from nextclick.broker import LocalBroker
from schemas.errors import BrokerError, ClicksError, TopicError
from schemas.kafka import admin, connected, create_topics
from schemas.settings import Settings
from schemas.topics import TopicContract
from trainer.kafka_log import read_click_topic

PARTITIONS = 3


@pytest.fixture(scope="module")
def broker() -> Iterator[str]:
    given = os.environ.get("NEXTCLICK_TEST_BROKER")
    if given:
        yield given
        return
    with LocalBroker(port=0) as local:
        yield local.address


def settings_of(broker: str, topic: str) -> Settings:
    return Settings(broker=broker, clicks_topic=f"{topic}-{os.getpid()}", partitions=PARTITIONS)


async def produce(settings: Settings, messages: list[tuple[int, bytes, bytes, int]]) -> None:
    """Messages (partition, key, value, ms) onto a new topic."""
    async with admin(settings) as client:
        await create_topics(client, [TopicContract(settings.clicks_topic, PARTITIONS, 1)])
    async with connected(AIOKafkaProducer(bootstrap_servers=settings.brokers), settings) as producer:
        for partition, key, value, time in messages:
            await producer.send_and_wait(settings.clicks_topic, value, key=key, partition=partition, timestamp_ms=time)


def message(partition: int, session: object, item: object, time: int) -> tuple[int, bytes, bytes, int]:
    click = {"session_id": session, "item_id": item, "timestamp": time}
    return partition, str(session).encode(), json.dumps(click).encode(), time


async def test_every_partition_is_read_to_its_end(broker: str) -> None:
    settings = settings_of(broker, "whole")
    await produce(settings, [message(0, 1, 10, 1000), message(2, 2, 11, 1500), message(0, 1, 12, 2000)])
    clicks = await asyncio.to_thread(read_click_topic, settings)
    assert sorted(clicks.frame.rows()) == [(1, 10, 1000), (1, 12, 2000), (2, 11, 1500)]
    assert clicks.offsets == {0: (0, 2), 1: (0, 0), 2: (0, 1)}
    assert clicks.source == settings.clicks_topic
    assert clicks.skipped == 0


async def test_invalid_messages_are_counted_and_mixed_ids_become_texts(broker: str) -> None:
    settings = settings_of(broker, "mixed")
    wrong_key = (1, b"8", message(1, 7, 10, 1000)[2], 1000)
    await produce(settings, [message(1, 7, 10, 1000), (1, b"7", b"{", 1000), wrong_key, message(1, 7, "x", 1001)])
    clicks = await asyncio.to_thread(read_click_topic, settings)
    assert clicks.frame.rows() == [(7, "10", 1000), (7, "x", 1001)]
    assert clicks.skipped == 2
    assert clicks.offsets[1] == (0, 4)


async def test_since_reads_the_newest_clicks_only(broker: str) -> None:
    settings = settings_of(broker, "since")
    await produce(settings, [message(0, 1, 10, 1000), message(0, 1, 11, 2000), message(0, 1, 12, 3000)])
    clicks = await asyncio.to_thread(read_click_topic, settings, since=2000)
    assert clicks.frame["item_id"].to_list() == [11, 12]
    assert clicks.offsets == {0: (1, 3), 1: (0, 0), 2: (0, 0)}
    with pytest.raises(ClicksError, match="holds no clicks since the given time"):
        await asyncio.to_thread(read_click_topic, settings, since=9000)


async def test_nothing_to_read(broker: str) -> None:
    with pytest.raises(TopicError, match="has no topic 'missing-"):
        await asyncio.to_thread(read_click_topic, settings_of(broker, "missing"))
    settings = settings_of(broker, "empty")
    await produce(settings, [])
    with pytest.raises(ClicksError, match=r"holds no clicks: produce some first"):
        await asyncio.to_thread(read_click_topic, settings)
    rejected = settings_of(broker, "rejected")
    await produce(rejected, [(0, b"1", b"{", 0)])
    with pytest.raises(ClicksError, match=r"holds 1 messages, none of them a valid click"):
        await asyncio.to_thread(read_click_topic, rejected)


def test_no_broker() -> None:
    with pytest.raises(BrokerError, match=r"no Kafka broker answers at 127\.0\.0\.1:1 "):
        read_click_topic(Settings(broker="127.0.0.1:1"))
