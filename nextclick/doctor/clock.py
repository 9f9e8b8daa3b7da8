"""Whether this machine's clock agrees with the cluster's."""

import asyncio
import time

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import ClusterAuthorizationFailedError

from messaging.clients import connected, new_consumer
from messaging.controller_clock import ahead_of_controller
from messaging.permissions import Allowed, missing
from messaging.record_time import LOG_APPEND_TIME
from nextclick.doctor.cluster import Cluster
from nextclick.doctor.finding import Finding, error, not_checked, ok, warning

CHECK = "clock"

NOTED_SECONDS = 5.0

WRONG_SECONDS = 300.0
"""From here on tokens and certificates are refused, and clicks of now count as those of another time."""

NEW_RECORD_SECONDS = 2.0
"""How long a new record is waited for. Only a record that arrives now tells the present time of the broker."""


async def clock(cluster: Cluster) -> list[Finding]:
    """Compare with the controller's clock, or, where the cluster does not tell it, with the times of records."""
    try:
        ahead = await ahead_of_controller(cluster.client)
    except ClusterAuthorizationFailedError:
        ahead = None
    if ahead is not None:
        return [_verdict(ahead, "the cluster's")]
    stamped = [
        topic.name
        for topic in cluster.topics.values()
        if topic.config.get("message.timestamp.type", "LogAppendTime") == "LogAppendTime"
        and not missing(cluster.allowed.get(topic.name, Allowed(None)), ["Read"])
    ]
    if stamped:
        consumer = new_consumer(cluster.settings, "doctor", auto_offset_reset="latest")
        async with connected(consumer, cluster.settings):
            ahead, exact = await _ahead_of_records(consumer, cluster, stamped)
        if ahead is not None and (exact or ahead < -NOTED_SECONDS):
            return [_verdict(ahead, "the brokers'")]
    return [
        not_checked(
            CHECK,
            "the cluster does not tell its time to this client, and no new record arrived meanwhile",
            "grant Describe on the cluster (KRaft, Kafka 3.3 and later), or run this while clicks arrive",
        )
    ]


async def _ahead_of_records(
    consumer: AIOKafkaConsumer, cluster: Cluster, topics: list[str]
) -> tuple[float | None, bool]:
    """By how many seconds this clock is ahead of the broker's, and whether that is exact or only a least value.

    An old record tells only a time that the broker has reached: a clock that is behind it is surely wrong.
    """
    places = [TopicPartition(name, number) for name in topics for number in range(cluster.topics[name].partitions)]
    consumer.assign(places)
    ends = await consumer.end_offsets(places)
    for place in places:
        consumer.seek(place, max(0, ends[place] - 1))
    newest: float | None = None
    deadline = asyncio.get_running_loop().time() + NEW_RECORD_SECONDS
    while (left := deadline - asyncio.get_running_loop().time()) > 0:
        for place, records in (await consumer.getmany(timeout_ms=round(left * 1000))).items():
            for record in records:
                if record.timestamp_type != LOG_APPEND_TIME:
                    continue
                ahead = time.time() - record.timestamp / 1000
                if record.offset >= ends[place]:
                    return ahead, True
                newest = ahead if newest is None else min(newest, ahead)
    return newest, False


def _verdict(ahead: float, whose: str) -> Finding:
    if abs(ahead) < NOTED_SECONDS:
        return ok(CHECK, f"this machine's clock agrees with {whose} (difference {abs(ahead):.1f} s)")
    seconds = f"{abs(ahead):,.0f} s" if abs(ahead) < WRONG_SECONDS else f"{abs(ahead) / 3600:.2f} h"
    side = "ahead of" if ahead > 0 else "behind"
    if abs(ahead) < WRONG_SECONDS:
        return warning(CHECK, f"this machine's clock is {seconds} {side} {whose}", "set it by NTP (chrony, timesyncd)")
    return error(
        CHECK,
        f"this machine's clock is {seconds} {side} {whose}: certificates and tokens may be refused, and retraining "
        "reads another span of the log",
        "set it by NTP (chrony, timesyncd); if this clock is right, set those of the brokers",
    )
