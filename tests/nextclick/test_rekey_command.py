"""`nextclick rekey` copies every message once, keyed by its session, whatever is killed, stopped or paused."""

import asyncio
import json
import signal
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.partitioner import murmur2

from clicklog.topic_span import click_consumer, click_partitions, open_spans, span_records
from messaging.clients import admin, new_consumer
from messaging.topics import add_partitions
from schemas.settings import Settings
from tests.command_line import CommandLine

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

SOURCE_PARTITIONS = 3
SESSIONS = 60
RATE = 1500
UNREADABLE = 50
"""Every so many messages one has no session id."""


@pytest.fixture
def settings(kafka_settings: Settings) -> Settings:
    settings = kafka_settings.model_copy(update={"click_fields": "session_id=visit.id"})

    async def create() -> None:
        async with admin(settings) as client:
            any_time = {"message.timestamp.after.max.ms": str(2**62)}
            await client.create_topics([NewTopic(source(settings), SOURCE_PARTITIONS, 1, topic_configs=any_time)])

    asyncio.run(create())
    return settings


def source(settings: Settings) -> str:
    return f"{settings.app_id}-events"


def value_of(number: int) -> bytes:
    """Session k is in source partition k % 3; messages are numbered in the order of sending."""
    if number % UNREADABLE == 0:
        return json.dumps({"number": number}).encode()
    return json.dumps({"visit": {"id": f"s{number % SESSIONS}"}, "number": number}).encode()


def send(settings: Settings, numbers: range, rate: float | None = None) -> None:
    async def run() -> None:
        async with AIOKafkaProducer(bootstrap_servers=settings.brokers, linger_ms=5) as producer:
            begin = time.monotonic()
            for place, number in enumerate(numbers):
                if rate is not None and (ahead := begin + place / rate - time.monotonic()) > 0.01:
                    await asyncio.sleep(ahead)
                key, headers = f"user {number % 7}".encode(), [("number", str(number).encode())]
                partition = number % SESSIONS % SOURCE_PARTITIONS
                await producer.send(source(settings), value_of(number), key, partition, headers=headers)

    asyncio.run(run())


@contextmanager
def flowing(settings: Settings, numbers: range) -> Iterator[None]:
    thread = threading.Thread(target=send, args=(settings, numbers, RATE))
    thread.start()
    try:
        yield
    finally:
        thread.join()


def read(settings: Settings, topic: str) -> list[Any]:
    """The committed messages of a topic, partition by partition."""

    async def run() -> list[Any]:
        found: list[Any] = []
        async with click_consumer(settings, "test") as consumer:
            partitions = await click_partitions(consumer, settings, topic)
            consumer.assign(partitions)
            async for records, _ in span_records(consumer, await open_spans(consumer, partitions), settings):
                found += [record for listed in records.values() for record in listed]
        return found

    return asyncio.run(run())


def wait_for_copies(settings: Settings, more_than: int, all_of_them: int | None = None) -> int:
    """Wait for more than so many copies, or for all: a busy machine may be late."""
    deadline = time.monotonic() + 120
    while (count := len(read(settings, settings.clicks_topic))) <= more_than and count != all_of_them:
        assert time.monotonic() < deadline, f"{count} messages on the clicks topic"
        time.sleep(0.3)
    return count


def partition_of(copy: Any, settings: Settings) -> int:
    return int(murmur2(copy.key) & 0x7FFFFFFF) % settings.partitions


def assert_copied_once(settings: Settings, numbers: range) -> None:
    copies, refused = read(settings, settings.clicks_topic), read(settings, settings.rejected_topic)
    readable = [number for number in numbers if number % UNREADABLE]
    assert sorted(int(dict(copy.headers)["number"]) for copy in copies) == readable
    expected = sorted(set(numbers) - set(readable))
    assert sorted(int(dict(copy.headers)["number"]) for copy in refused) == expected
    sessions: dict[bytes, list[int]] = defaultdict(list)
    for copy in copies:
        number = int(dict(copy.headers)["number"])
        assert (copy.key, copy.value) == (f"s{number % SESSIONS}".encode(), value_of(number))
        assert copy.partition == partition_of(copy, settings)
        sessions[copy.key].append(number)
    assert all(numbers == sorted(numbers) for numbers in sessions.values())
    for copy in refused:
        headers = dict(copy.headers)
        number = int(headers["number"])
        assert (copy.key, copy.value) == (f"user {number % 7}".encode(), value_of(number))
        assert headers["reason"] == b"the message has no visit.id, which is its session_id"
        assert headers["topic"] == source(settings).encode()


def start(command_line: CommandLine, settings: Settings) -> "subprocess.Popen[str]":
    return command_line.start("rekey", "--from", source(settings), settings=settings)


def finish(command_line: CommandLine, settings: Settings) -> None:
    code, output, errors = command_line.run("rekey", "--from", source(settings), "--until-end", settings=settings)
    assert (code, "Traceback" in errors) == (0, False), output + errors


def test_kills_lose_nothing_and_repeat_nothing(settings: Settings, command_line: CommandLine) -> None:
    count = 0
    for begin in (0, 4_000, 8_000):
        with flowing(settings, range(begin, begin + 4_000)):
            process = start(command_line, settings)
            count = wait_for_copies(settings, count + 200)
            process.kill()
            process.wait()
    finish(command_line, settings)
    assert_copied_once(settings, range(12_000))


def test_instances_that_come_and_go_or_are_paused_repeat_nothing(settings: Settings, command_line: CommandLine) -> None:
    numbers = range(RATE * 30)
    readable = sum(1 for number in numbers if number % UNREADABLE)
    with flowing(settings, numbers):
        first = start(command_line, settings)
        count = wait_for_copies(settings, 200, readable)
        second = start(command_line, settings)
        count = wait_for_copies(settings, count + 5 * RATE, readable)
        second.send_signal(signal.SIGSTOP)  # long enough for the group to give its partitions to the other one
        time.sleep(13)
        count = wait_for_copies(settings, len(read(settings, settings.clicks_topic)) + RATE, readable)
        second.send_signal(signal.SIGCONT)
        count = wait_for_copies(settings, count + 2 * RATE, readable)
        first.terminate()
        assert first.wait(30) == 0
    finish(command_line, settings)
    assert second.poll() is None
    second.terminate()
    assert second.wait(30) == 0
    assert_copied_once(settings, numbers)


def test_what_is_no_click_is_passed_over_and_what_is_too_large_is_rejected(
    settings: Settings, command_line: CommandLine
) -> None:
    large = json.dumps({"visit": {"id": 5}, "type": "view", "text": "x" * 1_048_400}).encode()
    messages = [
        json.dumps({"visit": {"id": 5}, "type": "view"}).encode(),
        b'{"type": "heartbeat"}',
        large,
        b"{",
        None,
    ]

    async def run() -> None:
        async with AIOKafkaProducer(bootstrap_servers=settings.brokers, max_request_size=2**21) as producer:
            for value in messages:
                await producer.send_and_wait(source(settings), value, b"user", partition=1, timestamp_ms=1000)

    asyncio.run(run())
    where = settings.model_copy(update={"click_where": "type=view"})
    code, output, errors = command_line.run("rekey", "--from", source(settings), "--until-end", settings=where)
    assert (code, errors) == (0, "")
    assert "copied 1 messages, rejected 2 without a session id, passed over 2 that are no clicks" in output
    (copy,) = read(settings, settings.clicks_topic)
    assert (copy.key, copy.value) == (b"5", messages[0])
    too_large, no_json = read(settings, settings.rejected_topic)
    assert large.startswith(too_large.value)
    assert b"is larger than topic" in dict(too_large.headers)["reason"]
    assert b"not valid JSON" in dict(no_json.headers)["reason"]

    async def committed() -> int | None:
        consumer = new_consumer(settings, "test", group_id=f"{settings.app_id}-rekey")
        await consumer.start()
        offset: int | None = await consumer.committed(TopicPartition(source(settings), 1))
        await consumer.stop()
        return offset

    assert asyncio.run(committed()) == len(messages)
    as_json = where.model_copy(update={"log_format": "json"})
    again = command_line.start("rekey", "--from", source(settings), "--until-end", settings=as_json)
    output, errors = again.communicate(timeout=60)
    said = [json.loads(line) for line in errors.splitlines()]
    assert (again.returncode, output, said[-1]["written"]) == (0, "", 0)
    resumed = f"goes on where group '{settings.app_id}-rekey' ended: partition 1 at offset {len(messages)}"
    assert resumed in [line["message"] for line in said]


def test_a_time_that_the_clicks_topic_refuses_costs_no_message(settings: Settings, command_line: CommandLine) -> None:
    values = [b'{"visit": {"id": 5}}', b"{}"]
    tomorrow = round(time.time() * 1000) + 86_400_000

    async def run() -> None:
        create_time = {"message.timestamp.type": "CreateTime"}
        async with admin(settings) as client:
            for topic in (settings.clicks_topic, settings.rejected_topic):
                await client.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, create_time)])
        async with AIOKafkaProducer(bootstrap_servers=settings.brokers) as producer:
            for value in values:
                await producer.send_and_wait(source(settings), value, b"user", 1, timestamp_ms=tomorrow)
            await producer.send_and_wait(source(settings), values[0], b"user", 1, timestamp_ms=1000)

    asyncio.run(run())
    finish(command_line, settings)
    late, early = read(settings, settings.clicks_topic)
    (refused,) = read(settings, settings.rejected_topic)
    assert late.timestamp < tomorrow
    assert early.timestamp == 1000
    assert (refused.value, refused.timestamp < tomorrow) == (b"{}", True)


def test_partitions_that_are_added_meanwhile_are_used(
    settings: Settings, command_line: CommandLine, tmp_path: Path
) -> None:
    heartbeat = tmp_path / "heartbeat"
    process = command_line.start("rekey", "--from", source(settings), "--heartbeat", str(heartbeat), settings=settings)
    send(settings, range(300))
    wait_for_copies(settings, 200)

    async def add() -> None:
        async with admin(settings) as client:
            await add_partitions(client, {settings.clicks_topic: settings.partitions + 3})

    assert heartbeat.exists()
    asyncio.run(add())
    more = settings.model_copy(update={"partitions": settings.partitions + 3})
    end, deadline = 300, time.monotonic() + 120
    while all(copy.partition < settings.partitions for copy in read(more, settings.clicks_topic)):
        assert time.monotonic() < deadline, "no copy is in a new partition"
        send(settings, range(end, end + 300))
        end += 300
        time.sleep(1)
    send(settings, range(end, end + 300))
    readable = [number for number in range(end + 300) if number % UNREADABLE]
    wait_for_copies(more, len(readable) - 1, len(readable))
    process.terminate()
    assert process.wait(30) == 0
    copies = {int(dict(copy.headers)["number"]): copy for copy in read(more, settings.clicks_topic)}
    assert sorted(copies) == readable
    assert all(copies[number].partition == partition_of(copies[number], more) for number in readable if number >= end)


def test_topics_that_cannot_be_copied(settings: Settings, command_line: CommandLine) -> None:
    code, _, errors = command_line.run("rekey", "--from", settings.clicks_topic, settings=settings)
    assert code == 1
    assert "is what this command writes to" in errors
    code, _, errors = command_line.run("rekey", "--from", "no-such-topic", settings=settings)
    assert code == 1
    assert errors == f"nextclick: --from no-such-topic: {settings.broker} has no topic of this name\n"
