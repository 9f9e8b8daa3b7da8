"""The roles of a deployment, and what each must be allowed to do in Kafka."""

from collections.abc import Collection
from enum import StrEnum

from schemas.settings import Settings


class Role(StrEnum):
    """What a client of Kafka does."""

    WORKER = "worker"
    TRAINER = "trainer"
    ARCHIVER = "archiver"
    PRODUCER = "producer"
    READER = "reader"


def topic_operations(settings: Settings, roles: Collection[Role]) -> dict[str, list[str]]:
    """Topic → the operations on it that these roles need. Read and Write include Describe."""
    needs = {
        Role.WORKER: {
            settings.clicks_topic: ["Read"],
            settings.recommendations_topic: ["Write"],
            settings.rejected_topic: ["Write"],
            settings.models_topic: ["Read", "Write"],
            settings.changelog_topic: ["Read", "Write"],
        },
        Role.TRAINER: {settings.clicks_topic: ["Read"], settings.models_topic: ["Read", "Write"]},
        Role.ARCHIVER: {settings.clicks_topic: ["Read"]},
        Role.PRODUCER: {settings.clicks_topic: ["Write"]},
        Role.READER: {settings.recommendations_topic: ["Read"]},
    }
    found: dict[str, list[str]] = {}
    for role in roles:
        for topic, operations in needs[role].items():
            found[topic] = list(dict.fromkeys([*found.get(topic, []), *operations]))
    return found


def groups(settings: Settings, roles: Collection[Role]) -> list[str]:
    """The consumer groups that these roles join; each needs Read."""
    needs = {
        Role.WORKER: [settings.app_id],
        Role.TRAINER: [f"{settings.app_id}-{work}-{settings.model_name}" for work in ("retrain", "refresh", "live")],
        Role.ARCHIVER: [f"{settings.app_id}-archive"],
    }
    return [group for role in roles for group in needs.get(role, [])]
