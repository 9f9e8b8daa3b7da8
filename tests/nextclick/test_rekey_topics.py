"""What `nextclick rekey` makes of the configuration of the topics that it writes to."""

import asyncio
import time
from typing import Any

import pytest
from aiokafka import ConsumerRecord, TopicPartition

from messaging.contracts import TopicContract
from nextclick.rekey import Rekeyer
from nextclick.rekey_topics import check_keeps_times, takes_time
from nextclick.rekeyed_batch import BatchRekeyer, RekeyedBatch
from schemas.click import NO_RECORD_TIME
from schemas.errors import SettingsError
from schemas.settings import Settings

HOUR, DAY = 3_600_000, 86_400_000
NOW = 1_772_368_200_250


def settings(**values: str) -> Settings:
    return Settings(_env_file=None, **values)  # type: ignore[call-arg, arg-type]


def topic(name: str = "clicks", **config: str) -> TopicContract:
    return TopicContract(
        name, 4, 1, {f"message.timestamp.{key.replace('_', '.')}": value for key, value in config.items()}
    )


def test_times_of_messages_are_not_copied_to_a_topic_that_changes_them() -> None:
    by_record = settings(click_time="record")
    check_keeps_times(by_record, topic(type="CreateTime"))
    check_keeps_times(settings(), topic(type="LogAppendTime"))
    with pytest.raises(SettingsError, match="time of copying; change it by kafka-configs"):
        check_keeps_times(by_record, topic(type="LogAppendTime"))
    with pytest.raises(SettingsError, match="grant DescribeConfigs"):
        check_keeps_times(by_record, topic())


@pytest.mark.parametrize(
    ("config", "ahead", "taken"),
    [
        ({"type": "LogAppendTime", "after_max_ms": "1000"}, 2 * HOUR, True),
        ({"type": "CreateTime", "after_max_ms": str(HOUR)}, HOUR // 2, True),
        ({"type": "CreateTime", "after_max_ms": str(HOUR)}, HOUR - 1000, False),  # clocks differ
        ({"type": "CreateTime", "after_max_ms": str(2**63 - 1)}, 1000 * DAY, True),
        ({"type": "CreateTime", "before_max_ms": str(DAY)}, -2 * DAY, False),
        ({"type": "CreateTime", "before_max_ms": str(DAY)}, -DAY // 2, True),
        ({}, -10_000 * DAY, True),
        ({}, DAY, False),  # an unknown configuration is taken for Kafka's default
    ],
)
def test_times_that_a_topic_takes(config: dict[str, str], ahead: int, taken: bool) -> None:
    assert takes_time(topic(**config), NOW + ahead, NOW) is taken


def rekeyed(click_time: str, timestamp: int, value: bytes) -> RekeyedBatch:
    create = {"type": "CreateTime", "after_max_ms": str(HOUR)}
    rekeyer = BatchRekeyer(settings(click_time=click_time), topic(**create), topic("rejected", **create))
    record: Any = ConsumerRecord("events", 0, 0, timestamp, 0, b"user", value, None, 4, len(value), ())
    return rekeyer.rekey([record])


def test_a_time_that_a_topic_refuses_is_left_out_or_refused() -> None:
    now = round(time.time() * 1000)
    good, without_session = b'{"session_id": "s"}', b"{}"
    ((moment, _),) = next(iter(rekeyed("", now + DAY, good).clicks.values()))
    assert moment == NO_RECORD_TIME
    ((moment, _),) = next(iter(rekeyed("", now, good).clicks.values()))
    assert moment == now
    ((moment, _),) = rekeyed("", now + DAY, without_session).rejected[0]
    assert moment == NO_RECORD_TIME
    ((_, (_, _, headers)),) = rekeyed("record", now + DAY, good).rejected[0]
    reason = dict(headers or ())["reason"]
    assert reason is not None
    assert reason.startswith(f"timestamp {now + DAY}, Kafka's time of the message".encode())


class EmptiedPartition:
    """A consumer's view of a partition of another process, whose messages were deleted by retention."""

    async def committed(self, _partition: TopicPartition) -> int | None:
        return None

    async def beginning_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, 7)


def test_a_partition_emptied_by_retention_is_not_waited_for() -> None:
    rekeyer, consumer = Rekeyer(settings(), "events", print), EmptiedPartition()
    assert asyncio.run(rekeyer._has_reached(consumer, TopicPartition("events", 0), 7, look=True))
    assert not asyncio.run(rekeyer._has_reached(consumer, TopicPartition("events", 0), 8, look=True))
