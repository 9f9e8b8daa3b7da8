"""Lists and creates topics, and compares them with their contracts.

await check_topics(settings)      # a worker's first step: TopicError says what is wrong and what to do
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    InvalidConfigurationError,
    KafkaError,
    PolicyViolationError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    for_code,
)

from messaging.clients import admin
from messaging.contracts import TopicContract, topic_contracts
from messaging.failures import kafka_reason, way_out
from schemas.errors import TopicError
from schemas.settings import Settings

CLEANUP = "cleanup.policy"

VISIBLE_SECONDS = 10.0
"""How long a new topic may take to get a leader for every partition."""

_REFUSED_CONFIGURATION = (InvalidConfigurationError, PolicyViolationError)

WITHOUT_ADVICE = {
    "message.timestamp.type": "the clocks of producers decide what a retention deletes",
    "min.insync.replicas": "a record may be acknowledged that is on one disk only",
}
"""What it costs that an existing topic lacks a configuration that new topics get."""


async def existing_topics(
    client: AIOKafkaAdminClient, names: Collection[str] | None = None
) -> dict[str, TopicContract]:
    """The existing topics by name, with their whole configuration, without Kafka's internal ones.

    Args:
        client: from `admin`.
        names: list only these; names without a topic are left out.
    """
    # List all and filter: a broker that auto-creates topics would create a topic that is asked for by name.
    listed = [
        topic
        for topic in await client.describe_topics()
        if not topic["is_internal"] and not topic["error_code"] and (names is None or topic["topic"] in names)
    ]
    configs = await _topic_configs(client, [topic["topic"] for topic in listed])
    return {
        topic["topic"]: TopicContract(
            name=topic["topic"],
            partitions=len(topic["partitions"]),
            replication=min((len(partition["replicas"]) for partition in topic["partitions"]), default=0),
            config=configs.get(topic["topic"], {}),
        )
        for topic in listed
    }


async def create_topics(client: AIOKafkaAdminClient, contracts: Sequence[TopicContract]) -> list[str]:
    """Create the missing topics and wait until each of their partitions has a leader.

    Where Kafka refuses the configuration, as clusters with a policy of their own do, a topic is created without what is
    only advised.

    Returns:
        The names of the created topics; existing topics are not changed.

    Raises:
        TopicError: Kafka refuses to create a topic (with its reason), or a new topic has no leader in time.
    """
    if not contracts:
        return []
    response = await client.create_topics(
        [
            NewTopic(contract.name, contract.partitions, contract.replication, topic_configs=contract.whole_config)
            for contract in contracts
        ]
    )
    by_name = {contract.name: contract for contract in contracts}
    created, with_less = [], []
    for name, code, *message in response.topic_errors:
        error, contract = for_code(code), by_name[name]
        if code == 0:
            created.append(name)
        elif error in _REFUSED_CONFIGURATION and contract.advised:
            *kept, _ = contract.advised.items()
            with_less.append(replace(contract, advised=dict(kept)))
        elif error is not TopicAlreadyExistsError:
            reason = (message[0] if message else None) or kafka_reason(error())
            raise TopicError(_cannot_be_created(contract, error(), reason))
    await _wait_for_leaders(client, dict.fromkeys(created, 1))
    return created + await create_topics(client, with_less)


def _cannot_be_created(contract: TopicContract, error: KafkaError, reason: str) -> str:
    line = f"topic {contract.name!r} cannot be created: {reason}"
    if type(error) in _REFUSED_CONFIGURATION:
        asked = ", ".join(f"{key}={value}" for key, value in contract.whole_config.items())
        return (
            f"{line} (asked for: {asked}); let whoever runs the cluster create it, or choose other NEXTCLICK_… settings"
        )
    return f"{line}: {way_out(error)}" if isinstance(error, TopicAuthorizationFailedError) else line


async def add_partitions(client: AIOKafkaAdminClient, counts: Mapping[str, int]) -> None:
    """Add partitions to topics and wait until all have a leader.

    Args:
        client: from `admin`.
        counts: topic → how many it shall have; more than it has.

    Raises:
        TopicError: Kafka refuses (with its reason), or a new partition has no leader in time.
    """
    if not counts:
        return
    response = await client.create_partitions({name: NewPartitions(count) for name, count in counts.items()})
    for name, code, *message in response.topic_errors:
        if code:
            reason = (message[0] if message else None) or kafka_reason(for_code(code)())
            raise TopicError(f"partitions cannot be added to topic {name!r}: {reason}")
    await _wait_for_leaders(client, counts)


def topic_differences(contract: TopicContract, existing: TopicContract) -> list[str]:
    """The differences between an existing topic and its contract, one readable phrase each; empty if it fits.

    Only configuration keys that the contract names are compared.
    """
    differences = []
    if existing.partitions != contract.partitions:
        differences.append(partition_difference(contract, existing.partitions))
    if existing.replication != contract.replication:
        differences.append(f"it has {existing.replication} replicas, the settings say {contract.replication}")
    for key, wanted in contract.config.items():
        found = existing.config.get(key)
        if found is None or set(found.split(",")) != set(wanted.split(",")):
            phrase = f"its {key} is {found}, the settings say {wanted}"
            differences.append(
                f"{phrase} ({contract.deleted})" if key == CLEANUP and _loses(contract, existing) else phrase
            )
    return differences


def _loses(contract: TopicContract, existing: TopicContract) -> bool:
    """Whether Kafka deletes old records of a topic that must be compacted."""
    return bool(contract.deleted) and "compact" not in existing.config.get(CLEANUP, "")


def topic_advice(contract: TopicContract, existing: TopicContract, settings: Settings) -> str:
    """A line about an existing topic that works, but is configured otherwise than a new one.

    Returns:
        what that costs and how to change it; empty if there is nothing to advise.
    """
    changes = {
        key: advised
        for key, advised in contract.advised.items()
        if not _as_good_as(advised, existing.config.get(key, ""))
    }
    if not changes:
        return ""
    has = "; ".join(
        f"its {key} is {existing.config.get(key)}, a new topic gets {advised}: {WITHOUT_ADVICE[key]}"
        for key, advised in changes.items()
    )
    return (
        f"topic {contract.name!r}: {has}; change it by kafka-configs.sh --bootstrap-server {settings.broker} --alter "
        f"--entity-type topics --entity-name {contract.name} "
        f"--add-config {','.join(f'{key}={advised}' for key, advised in changes.items())}"
    )


def _as_good_as(advised: str, found: str) -> bool:
    """Equal, or a higher number."""
    return found == advised or (found.isdigit() and advised.isdigit() and int(found) > int(advised))


async def check_topics(
    settings: Settings, names: Collection[str] | None = None, may_have_more: bool = False
) -> list[str]:
    """Check that the topics exist with the partition counts of the settings. Other differences do not stop a worker.

    Args:
        settings: define the contract of every topic.
        names: check only these; all by default.
        may_have_more: whether topics may have more partitions than the settings say.

    Returns:
        one line about each topic that deletes what is needed later.

    Raises:
        BrokerError: no broker answers.
        TopicError: a topic is missing, or has another partition count.
    """
    contracts = _contracts(settings, names)
    async with admin(settings) as client:
        existing = await existing_topics(client, [contract.name for contract in contracts])
    counts = {name: topic.partitions for name, topic in existing.items()}
    if may_have_more:
        wanted = {contract.name: contract.partitions for contract in contracts}
        counts = {name: min(count, wanted[name]) for name, count in counts.items()}
    _check_counts(settings, contracts, counts)
    return [
        different_topics({each.name: topic_differences(each, existing[each.name])}, settings)
        for each in contracts
        if _loses(each, existing[each.name])
    ]


async def check_topics_of(consumer: AIOKafkaConsumer, settings: Settings, names: Collection[str]) -> None:
    """Like `check_topics`, through a connected consumer instead of a new client.

    Raises:
        TopicError: a topic is missing, or has another partition count.
    """
    contracts = _contracts(settings, names)
    counts = await partition_counts(consumer, [contract.name for contract in contracts])
    _check_counts(settings, contracts, counts)


async def partition_counts(consumer: AIOKafkaConsumer, names: Collection[str]) -> dict[str, int]:
    """The partition count of each topic by name; names without a topic are left out.

    Args:
        consumer: connected; needs no assignment.
        names: topic names.
    """
    listed = await consumer.topics()  # list all: a topic that is asked for by name may be created
    existing = [name for name in names if name in listed]
    await consumer.end_offsets([TopicPartition(name, 0) for name in existing])  # loads their partitions
    return {name: len(consumer.partitions_for_topic(name) or ()) for name in existing}


def _contracts(settings: Settings, names: Collection[str] | None) -> list[TopicContract]:
    return [contract for contract in topic_contracts(settings) if names is None or contract.name in names]


def _check_counts(settings: Settings, contracts: Sequence[TopicContract], counts: Mapping[str, int]) -> None:
    """Compare the partition counts of existing topics, by name, with their contracts."""
    missing = [contract.name for contract in contracts if contract.name not in counts]
    if missing:
        raise TopicError(missing_topics(missing, settings))
    different = {
        contract.name: [partition_difference(contract, counts[contract.name])]
        for contract in contracts
        if counts[contract.name] != contract.partitions
    }
    if different:
        raise TopicError(different_topics(different, settings))


def partition_difference(contract: TopicContract, partitions: int) -> str:
    """A phrase for a partition count that differs from the contract."""
    return f"it has {partitions} partitions, the settings say {contract.partitions}"


def missing_topics(names: Sequence[str], settings: Settings) -> str:
    """Error message for topics that do not exist."""
    listed = ", ".join(repr(name) for name in names)
    return (
        f"Kafka at {settings.broker} has no topic {listed}: create what is missing by `nextclick topics`; "
        "if it exists, this client may not see it: grant it Describe on the topic"
    )


def hidden_topics(names: Sequence[str], settings: Settings) -> str:
    """Error message for topics that exist, and that Kafka does not show."""
    listed = ", ".join(repr(name) for name in names)
    return (
        f"topic {listed} exists, and Kafka at {settings.broker} does not show it to this client: grant it Describe on "
        "the topic (`kafka-acls --add`, or the tool of your cluster)"
    )


def different_topics(differences: dict[str, list[str]], settings: Settings) -> str:
    """Error message for topics that exist with other properties than the settings say."""
    listed = "; ".join(f"topic {name!r}: {', '.join(phrases)}" for name, phrases in differences.items())
    return (
        f"{listed} (Kafka at {settings.broker}): change the settings (NEXTCLICK_PARTITIONS, NEXTCLICK_REPLICATION, "
        "NEXTCLICK_…_RETENTION), alter the topic, or name another by NEXTCLICK_…_TOPIC; "
        "`nextclick topics` adds partitions that are missing"
    )


async def _topic_configs(client: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, dict[str, str]]:
    if not names:
        return {}
    responses = await client.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name) for name in names])
    return {
        name: {entry[0]: entry[1] for entry in entries}
        for response in responses
        for code, _, _, name, entries in response.resources
        if not code
    }


async def _wait_for_leaders(client: AIOKafkaAdminClient, counts: Mapping[str, int]) -> None:
    """Wait until each topic has that many partitions, all with a leader."""
    deadline = asyncio.get_running_loop().time() + VISIBLE_SECONDS
    while waiting := set(counts) - {
        topic["topic"]
        for topic in await client.describe_topics()
        if len(topic["partitions"]) >= counts.get(topic["topic"], 1)
        and all(partition["leader"] >= 0 for partition in topic["partitions"])
    }:
        if asyncio.get_running_loop().time() > deadline:
            raise TopicError(f"topic {min(waiting)!r} was created but has no leader after {VISIBLE_SECONDS:g} s")
        await asyncio.sleep(0.05)
