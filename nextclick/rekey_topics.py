"""The topics that `nextclick rekey` reads and writes, checked before it copies."""

import logging
from dataclasses import dataclass

from aiokafka import TopicPartition

from messaging.clients import admin, connected, new_consumer
from messaging.contracts import TopicContract
from messaging.topics import existing_topics, missing_topics, partition_counts
from schemas.click_times import RECORD
from schemas.errors import SettingsError, TopicError
from schemas.settings import Settings

log = logging.getLogger(__name__)

TIME_TYPE = "message.timestamp.type"

HOUR_MS = 3_600_000
CLOCKS_MS = 60_000
"""By how much the clocks of this machine and of a broker may differ."""


@dataclass(frozen=True)
class RekeyTopics:
    """Topics that can be copied.

    Attributes:
        clicks, rejected: the topics to write to, as they exist.
        ends: partition of the source → its end.
    """

    clicks: TopicContract
    rejected: TopicContract
    ends: dict[TopicPartition, int]


async def rekey_topics(settings: Settings, source: str) -> RekeyTopics:
    """Check the topics of a copy.

    Raises:
        BrokerError: no broker answers.
        SettingsError: the source is one of the topics to write to, or NEXTCLICK_CLICK_TIME does not fit.
        TopicError: a topic does not exist.
    """
    targets = [settings.clicks_topic, settings.rejected_topic]
    if source in targets:
        raise SettingsError(
            f"--from {source} is what this command writes to: set NEXTCLICK_CLICKS_TOPIC to a topic for the clicks "
            "with their new keys"
        )
    async with admin(settings) as client:
        existing = await existing_topics(client, targets)
    if missing := [name for name in targets if name not in existing]:
        raise TopicError(missing_topics(missing, settings))
    clicks, rejected = (existing[name] for name in targets)
    check_keeps_times(settings, clicks)
    async with connected(new_consumer(settings, "rekey"), settings) as consumer:
        counts = await partition_counts(consumer, [source])
        if source not in counts:
            raise TopicError(f"--from {source}: {settings.broker} has no topic of this name")
        partitions = [TopicPartition(source, number) for number in range(counts[source])]
        return RekeyTopics(clicks, rejected, dict(await consumer.end_offsets(partitions)))


def check_keeps_times(settings: Settings, clicks: TopicContract) -> None:
    """Check that copies keep the time of their message where it is the time of the click.

    Raises:
        SettingsError: the clicks topic gives each copy the time of copying, or its configuration is unknown.
    """
    found = clicks.config.get(TIME_TYPE)
    if settings.click_time != RECORD or found == "CreateTime":
        return
    if found is None:
        raise SettingsError(
            f"NEXTCLICK_CLICK_TIME=record needs topic {clicks.name!r} with {TIME_TYPE}=CreateTime, but its "
            "configuration cannot be read: grant DescribeConfigs on it"
        )
    raise SettingsError(
        f"NEXTCLICK_CLICK_TIME=record: topic {clicks.name!r} has {TIME_TYPE}={found}, so each copy would get the time "
        f"of copying; change it by kafka-configs.sh --bootstrap-server {settings.broker} --alter --entity-type topics "
        f"--entity-name {clicks.name} --add-config {TIME_TYPE}=CreateTime"
    )


def first_offset(partition: TopicPartition, committed: int | None, begin: int, end: int) -> int:
    """The offset to go on from: the committed one, unless the topic does not have it."""
    if committed is None or begin <= committed <= end:
        return begin if committed is None else committed
    log.warning(
        "topic %r, partition %d: offset %d, where the copy would go on, %s; it goes on at offset %d",
        partition.topic,
        partition.partition,
        committed,
        "was deleted by the topic's retention" if committed < begin else "does not exist: the topic was created again",
        begin,
    )
    return begin


def largest_message(topic: TopicContract) -> int:
    """Bytes of the largest message that an existing topic takes."""
    return int(topic.config.get("max.message.bytes", 2**20))


def takes_time(topic: TopicContract, timestamp: int, now: int) -> bool:
    """Whether an existing topic takes a message with a time; both times in ms since 1970 UTC."""
    if topic.config.get(TIME_TYPE) == "LogAppendTime":
        return True
    before = int(topic.config.get("message.timestamp.before.max.ms", 2**63 - 1))
    after = int(topic.config.get("message.timestamp.after.max.ms", HOUR_MS))
    return -_surely(before) <= timestamp - now <= _surely(after)


def _surely(limit: int) -> int:
    return limit - min(CLOCKS_MS, limit // 10)
