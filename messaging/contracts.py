"""The topics that nextclick needs: name, partitions, replicas and clean-up of each, from the settings."""

from dataclasses import dataclass, field

from schemas.durations import milliseconds
from schemas.settings import Settings

MODELS_SEGMENT_MS = 6 * 3_600_000
"""Every worker reads the whole models topic at its start, and Kafka compacts closed segments only: close them often."""


@dataclass(frozen=True)
class TopicContract:
    """One topic as it must exist: its name, partition count, replicas and the broker-side configuration."""

    name: str
    partitions: int
    replication: int
    config: dict[str, str] = field(default_factory=dict)


def topic_contracts(settings: Settings) -> list[TopicContract]:
    """Every topic of one deployment, including the changelog.

    `recommendations` is co-partitioned with `clicks`: both have the same partition count, and an answer goes to the
    partition of its click. The changelog is compacted, and records older than the session life are deleted. Kafka
    deletes closed segments only, so segments are closed four times per session life.
    """

    def contract(name: str, partitions: int, **config: str) -> TopicContract:
        return TopicContract(
            name, partitions, settings.replication, {k.replace("_", "."): v for k, v in config.items()}
        )

    life_ms = milliseconds(settings.session_life)
    return [
        contract(settings.clicks_topic, settings.partitions, retention_ms=str(milliseconds(settings.clicks_retention))),
        contract(
            settings.recommendations_topic,
            settings.partitions,
            retention_ms=str(milliseconds(settings.recommendations_retention)),
        ),
        contract(settings.models_topic, 1, cleanup_policy="compact", segment_ms=str(MODELS_SEGMENT_MS)),
        contract(
            settings.rejected_topic, settings.partitions, retention_ms=str(milliseconds(settings.clicks_retention))
        ),
        contract(
            settings.changelog_topic,
            settings.partitions,
            cleanup_policy="compact,delete",
            retention_ms=str(life_ms),
            segment_ms=str(max(life_ms // 4, 1000)),
        ),
    ]
