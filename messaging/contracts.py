"""The topics that nextclick lives on: names, sizes and clean-up, as the settings say."""

from dataclasses import dataclass, field

from schemas.durations import milliseconds
from schemas.settings import Settings

MODELS_SEGMENT_MS = 6 * 3_600_000
"""Only closed segments are compacted, and every worker reads the topic of models at its start."""


@dataclass(frozen=True)
class TopicContract:
    """One topic as it must exist: its name, partition count, replicas and the broker-side configuration."""

    name: str
    partitions: int
    replication: int
    config: dict[str, str] = field(default_factory=dict)


def topic_contracts(settings: Settings) -> list[TopicContract]:
    """Every topic of one deployment, the changelog included.

    `recommendations` is co-partitioned with `clicks`: the same count, and an answer goes to its click's partition.
    The changelog is compacted, and a session's record also leaves after the session's life: Kafka deletes closed
    segments only, so they are closed four times in a life.
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
