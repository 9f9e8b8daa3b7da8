"""The topics that nextclick needs: name, partitions, replicas and clean-up of each, from the settings."""

from dataclasses import dataclass, field

from schemas.durations import milliseconds
from schemas.settings import Settings

MODELS_SEGMENT_MS = 6 * 3_600_000
"""Every worker reads the whole models topic at its start, and Kafka compacts closed segments only: close them often."""

REPLICAS_THAT_CAN_LOSE_ONE = 3
"""With fewer replicas, `min.insync.replicas=2` would stop all writing as soon as one broker is away."""

STATES_DELETED = "it also deletes states of sessions that go on, and they begin anew if a worker loses its disk"
ANNOUNCEMENT_DELETED = "it also deletes the announcement of the model that serves, and a worker on a new disk has none"


@dataclass(frozen=True)
class TopicContract:
    """One topic as it must exist: its name, partition count, replicas and the broker-side configuration.

    Attributes:
        config: what it must have.
        advised: what a new topic gets too; an existing one works without it.
        deleted: what is lost if the topic is not compacted, but old records of it are deleted; empty: nothing.
    """

    name: str
    partitions: int
    replication: int
    config: dict[str, str] = field(default_factory=dict)
    advised: dict[str, str] = field(default_factory=dict)
    deleted: str = ""

    @property
    def whole_config(self) -> dict[str, str]:
        """The configuration of a new topic."""
        return self.config | self.advised


def topic_contracts(settings: Settings) -> list[TopicContract]:
    """Every topic of one deployment, including the changelog.

    `recommendations` is co-partitioned with `clicks`: both have the same partition count, and an answer goes to the
    partition of its click. The changelog is compacted, and records older than the session life are deleted. Kafka
    deletes closed segments only, so segments are closed four times per session life.

    All times are the broker's: else a producer's clock, or the time of an event long ago, would decide what a retention
    deletes. With three replicas a record is on two of them before it is acknowledged, so that one disk can be lost.
    """
    advised = {"message.timestamp.type": "LogAppendTime"}
    if settings.replication >= REPLICAS_THAT_CAN_LOSE_ONE:
        advised["min.insync.replicas"] = "2"

    def contract(name: str, partitions: int, deleted: str = "", **config: str) -> TopicContract:
        keys = {key.replace("_", "."): value for key, value in config.items()}
        return TopicContract(name, partitions, settings.replication, keys, advised, deleted)

    life_ms = milliseconds(settings.session_life)
    return [
        contract(settings.clicks_topic, settings.partitions, retention_ms=str(milliseconds(settings.clicks_retention))),
        contract(
            settings.recommendations_topic,
            settings.partitions,
            retention_ms=str(milliseconds(settings.recommendations_retention)),
        ),
        contract(
            settings.models_topic,
            1,
            deleted=ANNOUNCEMENT_DELETED,
            cleanup_policy="compact",
            segment_ms=str(MODELS_SEGMENT_MS),
        ),
        contract(
            settings.rejected_topic, settings.partitions, retention_ms=str(milliseconds(settings.clicks_retention))
        ),
        contract(
            settings.changelog_topic,
            settings.partitions,
            deleted=STATES_DELETED,
            cleanup_policy="compact,delete",
            retention_ms=str(life_ms),
            segment_ms=str(max(life_ms // 4, 1000)),
        ),
    ]
