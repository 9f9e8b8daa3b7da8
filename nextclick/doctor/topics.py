"""The topics: whether they exist, and whether they are configured as the deployment needs them."""

from collections.abc import Iterator
from typing import Any

from messaging.contracts import TopicContract
from messaging.topics import CLEANUP, topic_advice
from nextclick.doctor.cluster import Cluster
from nextclick.doctor.finding import Finding, counted, error, ok, warning
from schemas.durations import duration_text, milliseconds
from schemas.settings import Settings

CHECK = "topics"
RETENTION = "retention.ms"
IN_SYNC = "min.insync.replicas"


async def topics(cluster: Cluster) -> list[Finding]:
    """What is wrong with each topic; one line for those that are as they should be."""
    found: list[Finding] = []
    fine = []
    partitions = {topic["topic"]: topic["partitions"] for topic in await cluster.client.describe_topics()}
    for contract in cluster.contracts:
        own = [*_topic(contract, cluster), *leaders(contract.name, partitions.get(contract.name, []))]
        found += own
        if not own:
            fine.append(contract.name)
    if fine:
        found.insert(0, ok(CHECK, f"as they should be: {', '.join(fine)}"))
    return found


def _topic(contract: TopicContract, cluster: Cluster) -> Iterator[Finding]:
    existing, settings = cluster.topics.get(contract.name), cluster.settings
    if existing is None:
        if contract.name in cluster.hidden:
            yield error(
                CHECK,
                f"topic {contract.name!r} is not shown to this client: it does not exist, or may not be described",
                "grant Describe on it (`kafka-acls --add`, or the tool of your cluster), or create it by "
                "`nextclick topics`",
            )
        else:
            yield error(
                CHECK, f"topic {contract.name!r} does not exist", "create what is missing by `nextclick topics`"
            )
        return
    if existing.partitions != contract.partitions:
        yield _other_count(contract, existing, settings)
    yield from _replicas(contract, existing, cluster)
    if not existing.config:
        yield warning(
            CHECK,
            f"the configuration of topic {contract.name!r} may not be described by this client: it is not checked",
            "grant DescribeConfigs on the topic, or run this command as a user who has it",
        )
        return
    yield from _cleanup(contract, existing, settings)
    yield from _retention(contract, existing, settings)
    advice = topic_advice(contract, existing, settings)
    if advice:
        meaning, _, way_out = advice.rpartition("; change it by ")
        yield warning(CHECK, meaning, way_out)


def _other_count(contract: TopicContract, existing: TopicContract, settings: Settings) -> Finding:
    meaning = f"topic {contract.name!r} has {existing.partitions} partitions, the settings say {contract.partitions}"
    if contract.name == settings.models_topic:
        return error(CHECK, f"{meaning}: its order would be lost", "name another by NEXTCLICK_MODELS_TOPIC")
    if existing.partitions < contract.partitions:
        return error(CHECK, f"{meaning}: workers stop", "add the missing ones to all topics by `nextclick topics`")
    more = f"partitions {contract.partitions} to {existing.partitions - 1}"
    clicks = contract.name == settings.clicks_topic
    return error(
        CHECK,
        f"{meaning}: {f'clicks on {more} are not answered' if clicks else f'workers do not use {more}'}",
        f"set NEXTCLICK_PARTITIONS={existing.partitions}, run `nextclick topics`, then restart every worker",
    )


def _replicas(contract: TopicContract, existing: TopicContract, cluster: Cluster) -> Iterator[Finding]:
    name, has = contract.name, existing.replication
    if has < contract.replication:
        yield warning(
            CHECK,
            f"topic {name!r} has {has} replicas, the settings say {contract.replication}: fewer brokers may be lost",
            "raise it by kafka-reassign-partitions.sh (or the tool of your cluster), or lower NEXTCLICK_REPLICATION",
        )
    elif has == 1 and cluster.brokers > 2:
        yield warning(
            CHECK,
            f"topic {name!r} has one replica on a cluster of {cluster.brokers} brokers: while its broker is away it "
            "cannot be used, and with its disk it is lost",
            "set NEXTCLICK_REPLICATION=3, and raise the replicas by kafka-reassign-partitions.sh",
        )
    in_sync = existing.config.get(IN_SYNC, "1")
    if in_sync.isdigit() and int(in_sync) > has:
        yield error(
            CHECK,
            f"topic {name!r} has {IN_SYNC}={in_sync} and {has} replicas: Kafka refuses all writes",
            _configure(cluster.settings, name, f"{IN_SYNC}={min(2, has)}"),
        )


def leaders(topic: str, partitions: list[dict[str, Any]]) -> Iterator[Finding]:
    """Partitions that have no leader, or fewer replicas in sync than they have.

    Args:
        topic: its name.
        partitions: as `AIOKafkaAdminClient.describe_topics` lists them.
    """
    dead = [each["partition"] for each in partitions if each["leader"] < 0]
    behind = [each["partition"] for each in partitions if len(each["isr"]) < len(each["replicas"])]
    if dead:
        yield error(
            CHECK,
            f"{counted(len(dead), 'partition')} of topic {topic!r} without a leader, such as {dead[0]}: it cannot be "
            "read or written",
            "start the brokers that are away; if a disk is lost, see kafka-leader-election.sh",
        )
    elif behind:
        yield warning(
            CHECK,
            f"{counted(len(behind), 'partition')} of topic {topic!r} with replicas out of sync, such as {behind[0]}",
            "start the brokers that are away, or wait until their replicas have caught up",
        )


def _cleanup(contract: TopicContract, existing: TopicContract, settings: Settings) -> Iterator[Finding]:
    wanted, found = contract.config.get(CLEANUP, "delete"), existing.config.get(CLEANUP, "")
    if set(found.split(",")) == set(wanted.split(",")):
        return
    if contract.deleted and "compact" not in found:
        costs = contract.deleted
    elif not contract.deleted and "compact" in found:
        costs = "of each session only the newest message is kept"
    else:
        costs = "records of sessions that ended are kept for ever"
    finding = error if "kept for ever" not in costs else warning
    yield finding(
        CHECK,
        f"topic {contract.name!r} has {CLEANUP}={found}, it must be {wanted}: {costs}",
        _configure(settings, contract.name, f"{CLEANUP}=[{wanted}]" if "," in wanted else f"{CLEANUP}={wanted}"),
    )


def _retention(contract: TopicContract, existing: TopicContract, settings: Settings) -> Iterator[Finding]:
    wanted, found = contract.config.get(RETENTION), existing.config.get(RETENTION, "")
    if wanted is None or found == "-1" or not found.isdigit():
        return
    name, window = contract.name, milliseconds(settings.retrain_window)
    if name == settings.clicks_topic and int(found) < window:
        yield warning(
            CHECK,
            f"topic {name!r} has {RETENTION}={found} ({_days(found)}), less than NEXTCLICK_RETRAIN_WINDOW="
            f"{duration_text(settings.retrain_window)}: retraining reads older clicks from the archive only",
            f"{_configure(settings, name, f'{RETENTION}={wanted}')}; or run `nextclick archive`, or lower "
            "NEXTCLICK_RETRAIN_WINDOW",
        )
    elif int(found) < int(wanted):
        costs = (
            "states of sessions that go on are deleted"
            if name == settings.changelog_topic
            else "records are deleted earlier"
        )
        yield warning(
            CHECK,
            f"topic {name!r} has {RETENTION}={found} ({_days(found)}), the settings say {wanted}: {costs}",
            _configure(settings, name, f"{RETENTION}={wanted}"),
        )
    size = existing.config.get("retention.bytes", "-1")
    if size not in ("-1", ""):
        yield warning(
            CHECK,
            f"topic {name!r} has retention.bytes={size}: records are deleted by size before their time is over",
            _configure(settings, name, "retention.bytes=-1"),
        )


def _days(milliseconds_: str) -> str:
    return f"{int(milliseconds_) / 86_400_000:.3g} days"


def _configure(settings: Settings, topic: str, change: str) -> str:
    return (
        f"kafka-configs.sh --bootstrap-server {settings.broker} --alter --entity-type topics --entity-name {topic} "
        f"--add-config {change}"
    )
