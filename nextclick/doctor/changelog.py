"""The health of the sessions' changelog: whether Kafka compacts it, and deletes what has expired."""

import time

from aiokafka import AIOKafkaConsumer, TopicPartition

from messaging.clients import connected, new_consumer
from nextclick.doctor.cluster import Cluster
from nextclick.doctor.finding import Finding, counted, not_checked, ok, warning
from nextclick.doctor.roles import Role
from schemas.durations import duration_text

CHECK = "changelog"

LOOKED_AT = 2000
"""Oldest records of a partition that are looked at."""

MANY_TWICE = 0.5
"""A compacted log has each session once; the newest segment, which is not compacted, has some several times."""

POLL_MS = 1500


async def changelog(cluster: Cluster) -> list[Finding]:
    """Whether old records leave the changelog: expired ones, and those that newer ones of the same session replace."""
    if Role.WORKER not in cluster.roles:
        return []
    settings = cluster.settings
    topic = settings.changelog_topic
    existing = cluster.topics.get(topic)
    if existing is None:
        return [not_checked(CHECK, f"topic {topic!r} does not exist")]
    places = [TopicPartition(topic, number) for number in range(existing.partitions)]
    consumer = new_consumer(settings, "doctor", auto_offset_reset="earliest")
    async with connected(consumer, settings):
        begins, ends = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
        written = sum(ends.values())
        filled = [place for place in places if ends[place] > begins[place]]
        if not filled:
            return [ok(CHECK, f"topic {topic!r} holds no session yet")]
        place = max(filled, key=lambda each: ends[each] - begins[each])
        keys, oldest = await _oldest(consumer, place)
    if oldest is None:
        why = f"no record of partition {place.partition} of topic {topic!r} arrived within {POLL_MS / 1000:g} s"
        return [not_checked(CHECK, why, "run this again")]
    return _verdict(cluster, written, keys, oldest)


async def _oldest(consumer: AIOKafkaConsumer, place: TopicPartition) -> tuple[list[bytes], int | None]:
    """Keys of the oldest records of a partition, and the time of the first, ms since 1970 UTC; None if none arrives."""
    consumer.assign([place])
    await consumer.seek_to_beginning(place)
    records = (await consumer.getmany(place, timeout_ms=POLL_MS, max_records=LOOKED_AT)).get(place, [])
    return [record.key for record in records if record.key], records[0].timestamp if records else None


def _verdict(cluster: Cluster, written: int, keys: list[bytes], oldest: int) -> list[Finding]:
    settings = cluster.settings
    topic, life = settings.changelog_topic, settings.session_life
    found = []
    age = time.time() - oldest / 1000
    if age > 2 * life.total_seconds() + 3600:
        found.append(
            warning(
                CHECK,
                f"the oldest record of topic {topic!r} is {age / 3600:,.0f} h old, and sessions live "
                f"{duration_text(life)}: Kafka does not delete what has expired",
                "check the topic's cleanup.policy, retention.ms and segment.ms by `nextclick topics`, and the log "
                "cleaner of the brokers (log.cleaner.enable, log-cleaner.log)",
            )
        )
    twice = 1 - len(set(keys)) / len(keys) if keys else 0.0
    if len(keys) == LOOKED_AT and twice > MANY_TWICE:
        found.append(
            warning(
                CHECK,
                f"of the {LOOKED_AT:,} oldest records of a partition of topic {topic!r}, {twice:.0%} are of a session "
                "that has a newer one: it has far more records than sessions, so a recovery takes longer",
                "if it stays so, lower the topic's segment.ms and min.cleanable.dirty.ratio, and check the log cleaner "
                "of the brokers (log-cleaner.log)",
            )
        )
    return found or [
        ok(CHECK, f"{counted(written, 'state')} written so far; the oldest one left is {max(age, 0) / 3600:,.1f} h old")
    ]
