"""The workers' consumer group: who is in it, and how far behind it is."""

import asyncio
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata
from aiokafka.errors import GroupCoordinatorNotAvailableError, KafkaError, for_code

from messaging.clients import connected, new_consumer
from messaging.failures import passes
from nextclick.doctor.cluster import Cluster
from nextclick.doctor.finding import Finding, counted, error, ok, warning
from nextclick.doctor.roles import Role

CHECK = "group"

COORDINATOR_SECONDS = 4.0
"""How long the group's coordinator may be loading: it does when its broker has just started."""


async def group(cluster: Cluster) -> list[Finding]:
    """Members, and lag. Nothing but a worker may describe the group."""
    if Role.WORKER not in cluster.roles:
        return []
    settings = cluster.settings
    deadline = asyncio.get_running_loop().time() + COORDINATOR_SECONDS
    while True:
        try:
            state, kind, members = await _described(cluster)
            break
        except GroupCoordinatorNotAvailableError:  # a new cluster: its topic of offsets is being created
            if asyncio.get_running_loop().time() > deadline:
                return [ok(CHECK, f"no worker has run yet: the cluster has no consumer group {settings.app_id!r}")]
        except KafkaError as failure:
            if not passes(failure) or asyncio.get_running_loop().time() > deadline:
                raise
        await asyncio.sleep(0.2)
    offsets = await cluster.client.list_consumer_group_offsets(settings.app_id)
    committed = {
        place.partition: told.offset for place, told in offsets.items() if place.topic == settings.clicks_topic
    }
    found = [_members(state, kind, members, cluster)]
    if committed and settings.clicks_topic in cluster.topics:
        consumer = new_consumer(settings, "doctor")
        async with connected(consumer, settings):
            found.append(await _lag(consumer, committed, bool(members), cluster))
    return found


async def _described(cluster: Cluster) -> tuple[str, str, list[Any]]:
    """The group's state, kind and members."""
    (response,) = await cluster.client.describe_consumer_groups([cluster.settings.app_id])
    code, name, state, kind, _, members = response.groups[0][:6]
    if code:
        raise for_code(code)(f"consumer group {name!r}")
    return state, kind, members


def _members(state: str, kind: str, members: list[Any], cluster: Cluster) -> Finding:
    name, topic = cluster.settings.app_id, cluster.settings.clicks_topic
    other = f"the consumer group {name!r} is used by another program"
    if members and kind not in ("consumer", ""):
        return error(CHECK, f"{other}: it is of the kind {kind!r}", "choose another NEXTCLICK_APP_ID")
    subscribed = {each for member in members for each in _subscription(member[3])}
    if subscribed and topic not in subscribed:
        return error(
            CHECK,
            f"{other}: its members read {', '.join(sorted(subscribed))}, and not {topic!r}",
            "choose another NEXTCLICK_APP_ID, or correct NEXTCLICK_CLICKS_TOPIC",
        )
    if not members:
        return ok(CHECK, f"no worker is connected as consumer group {name!r}")
    if state not in ("Stable", "Empty"):
        return warning(
            CHECK,
            f"consumer group {name!r} is being rebalanced ({state}): its partitions are not worked on meanwhile",
            "run this again in a minute; if it stays so, see the logs of the workers",
        )
    partitions = cluster.settings.partitions
    if len(members) > partitions:
        return warning(
            CHECK,
            f"{len(members)} workers share {partitions} partitions: {len(members) - partitions} have nothing to do",
            "run fewer, or raise NEXTCLICK_PARTITIONS and run `nextclick topics`",
        )
    return ok(CHECK, f"consumer group {name!r} has {counted(len(members), 'worker')}")


def _subscription(metadata: bytes) -> list[str]:
    try:
        return list(ConsumerProtocolMemberMetadata.decode(metadata).subscription)
    except Exception:  # while a group is being rebalanced, or of a program with another protocol
        return []


async def _lag(consumer: AIOKafkaConsumer, committed: dict[int, int], has_workers: bool, cluster: Cluster) -> Finding:
    topic = cluster.settings.clicks_topic
    places = {number: TopicPartition(topic, number) for number in committed}
    begins = await consumer.beginning_offsets(list(places.values()))
    ends = await consumer.end_offsets(list(places.values()))
    lost = sum(max(0, begins[places[number]] - offset) for number, offset in committed.items())
    beyond = [number for number, offset in committed.items() if offset > ends[places[number]]]
    lag = sum(max(0, ends[place] - max(begins[place], committed[number])) for number, place in places.items())
    if lost:
        return error(
            CHECK,
            f"{lost:,} clicks were deleted from topic {topic!r} before a worker read them",
            "raise NEXTCLICK_CLICKS_RETENTION and the topic's retention.ms, and run more workers",
        )
    if beyond:
        return warning(
            CHECK,
            f"the committed offset of partition {beyond[0]} of topic {topic!r} is beyond its end: the topic was "
            "created again or truncated",
            "start a worker: it notices, and reads the new log from its beginning",
        )
    if lag and not has_workers:
        return warning(
            CHECK, f"{counted(lag, 'click')} waiting, and no worker is connected", "start a worker: `nextclick worker`"
        )
    return ok(CHECK, f"{counted(lag, 'click')} waiting for an answer")
