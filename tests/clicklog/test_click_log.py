import asyncio
import json
import sys
import time
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from clicklog.clicks import Clicks
from clicklog.topic_reader import read_click_topic
from messaging.clients import connected
from nextclick.cli import main
from rankers.bundle import read_bundle
from schemas.announcement import ClickSpan
from schemas.errors import BrokerError, ClicksError, TopicError
from schemas.settings import Settings
from tests.topics import create_with_brokers_times, create_with_producers_times


async def produce(settings: Settings, messages: list[tuple[int, bytes, bytes, int]]) -> None:
    """Send messages (partition, key, value, ms) to the clicks topic."""
    async with connected(AIOKafkaProducer(bootstrap_servers=settings.brokers), settings) as producer:
        for partition, key, value, moment in messages:
            await producer.send_and_wait(
                settings.clicks_topic, value, key=key, partition=partition, timestamp_ms=moment
            )


def message(partition: int, session: object, item: object, time: int) -> tuple[int, bytes, bytes, int]:
    click = {"session_id": session, "item_id": item, "timestamp": time}
    return partition, str(session).encode(), json.dumps(click).encode(), time


async def read(settings: Settings, since: int | None = None, until: int | None = None) -> Clicks:
    return await asyncio.to_thread(read_click_topic, settings, since, until)


async def test_every_partition_is_read_to_its_end(kafka_settings: Settings) -> None:
    await produce(kafka_settings, [message(0, 1, 10, 1000), message(2, 2, 11, 1500), message(0, 1, 12, 2000)])
    clicks = await read(kafka_settings)
    assert sorted(clicks.frame.rows()) == [(1, 10, 1000), (1, 12, 2000), (2, 11, 1500)]
    assert clicks.offsets == {0: (0, 2), 1: (0, 0), 2: (0, 1), 3: (0, 0)}
    assert clicks.source == kafka_settings.clicks_topic
    assert clicks.skipped == 0


async def test_invalid_messages_are_counted_and_mixed_ids_become_texts(kafka_settings: Settings) -> None:
    wrong_key = (1, b"8", message(1, 7, 10, 1000)[2], 1000)
    no_json = (1, b"7", b"{", 1000)
    await produce(kafka_settings, [message(1, 7, 10, 1000), no_json, wrong_key, message(1, 7, "x", 1001)])
    clicks = await read(kafka_settings)
    assert clicks.frame.rows() == [(7, "10", 1000), (7, "x", 1001)]
    assert clicks.skipped == 2
    assert clicks.offsets[1] == (0, 4)


async def test_a_click_that_repeats_the_one_before_is_left_out(kafka_settings: Settings) -> None:
    twice = [message(0, 1, 10, 1000), message(0, 2, 10, 1000), message(0, 1, 10, 1000)]
    await produce(kafka_settings, [*twice, message(0, 1, 10, 1001), message(0, 1, 11, 1001), message(0, 1, 10, 1001)])
    clicks = await read(kafka_settings)
    assert clicks.frame.rows() == [(1, 10, 1000), (2, 10, 1000), (1, 10, 1001), (1, 11, 1001), (1, 10, 1001)]
    assert clicks.repeated == 1


@pytest.mark.parametrize("brokers_time", [True, False])
async def test_since_reads_the_newest_clicks_only(bare_settings: Settings, brokers_time: bool) -> None:
    """By the clicks' own time. The times of the records only save reading what came long before."""
    await (create_with_brokers_times if brokers_time else create_with_producers_times)(bare_settings)
    day = 86_400_000
    clicked = [message(0, 1, 10, day), message(0, 1, 11, 3 * day), message(0, 1, 12, 4 * day)]
    await produce(bare_settings, clicked)
    clicks = await read(bare_settings, since=3 * day)
    assert clicks.frame["item_id"].to_list() == [11, 12]
    assert clicks.offsets[0] == (0 if brokers_time else 1, 3)
    with pytest.raises(ClicksError, match=r"holds no clicks of the given span of time: .*, or widen the span"):
        await read(bare_settings, since=9 * day)


async def test_since_finds_the_clicks_of_a_producer_whose_clock_is_ahead(kafka_settings: Settings) -> None:
    hour, now = 3_600_000, time.time_ns() // 1_000_000
    await produce(kafka_settings, [message(0, 1, 10, now - hour), message(0, 1, 11, now + hour)])
    assert (await read(kafka_settings, since=now + hour // 2)).frame["item_id"].to_list() == [11]


async def test_until_leaves_out_the_newest_clicks(kafka_settings: Settings) -> None:
    late = message(0, 1, 12, 1500)
    await produce(kafka_settings, [message(0, 1, 10, 1000), message(0, 1, 11, 2000), late, message(0, 1, 13, 3000)])
    clicks = await read(kafka_settings, until=2000)
    assert clicks.frame["item_id"].to_list() == [10, 12]
    assert clicks.offsets[0] == (0, 4)
    assert (await read(kafka_settings, since=1500, until=3000)).frame["item_id"].to_list() == [11, 12]
    with pytest.raises(ClicksError, match="holds no clicks of the given span of time"):
        await read(kafka_settings, until=1000)


async def test_a_topic_without_a_valid_click(kafka_settings: Settings) -> None:
    with pytest.raises(ClicksError, match=r"holds no clicks: produce some first"):
        await read(kafka_settings)
    await produce(kafka_settings, [(0, b"1", b"{", 0)])
    with pytest.raises(ClicksError, match=r"holds 1 messages, none of them a valid click"):
        await read(kafka_settings)


async def test_a_topic_that_is_not_there(bare_settings: Settings) -> None:
    with pytest.raises(TopicError, match=r"has no topic 't-.*-clicks'"):
        await read(bare_settings)


def test_no_broker() -> None:
    with pytest.raises(BrokerError, match=r"no Kafka broker answers at 127\.0\.0\.1:1 "):
        read_click_topic(Settings(broker="127.0.0.1:1"))


def test_train_from_the_topic_and_publish(kafka_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("broker", "clicks_topic", "recommendations_topic", "models_topic", "rejected_topic", "models_uri"):
        monkeypatch.setenv(f"NEXTCLICK_{name.upper()}", getattr(kafka_settings, name))
    monkeypatch.setenv("NEXTCLICK_PARTITIONS", str(kafka_settings.partitions))
    clicks = [message(session % 4, session, click, 10 * session + click) for session in range(8) for click in range(3)]
    asyncio.run(produce(kafka_settings, clicks))
    options = "train --clicks kafka --publish --epochs 1 --hidden 4 --samples 4 --device cpu"
    monkeypatch.setattr(sys, "argv", ["nextclick", *options.split()])
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code
    (directory,) = Path(kafka_settings.models_uri).iterdir()
    span = read_bundle(directory).trained_on
    assert span == ClickSpan(
        clicks=24,
        sessions=8,
        first=0,
        last=72,
        source=kafka_settings.clicks_topic,
        offsets=dict.fromkeys(range(4), (0, 6)),
    )
