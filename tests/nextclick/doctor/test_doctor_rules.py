"""What `nextclick doctor` concludes without a Kafka: settings that contradict each other, and replicas."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    NotControllerError,
    RequestTimedOutError,
    SaslAuthenticationFailed,
)

from messaging.clients import kafka_errors
from messaging.contracts import topic_contracts
from nextclick.doctor import changelog, examination
from nextclick.doctor.cluster import Cluster
from nextclick.doctor.contradictions import contradictions
from nextclick.doctor.finding import Level
from nextclick.doctor.roles import Role
from nextclick.doctor.topics import leaders
from schemas.errors import RefusedError, SettingsError
from schemas.settings import Settings


def settings(**changes: Any) -> Settings:
    return Settings(_env_file=None, **changes)


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_defaults_contradict_nothing() -> None:
    (finding,) = contradictions(settings())
    assert finding.level is Level.OK


@pytest.mark.parametrize(
    ("changes", "level", "named"),
    [
        ({"session_life": "10m"}, "error", ["NEXTCLICK_SESSION_GAP=30m", "NEXTCLICK_SESSION_LIFE=10m"]),
        (
            {"clicks_retention": "10d", "archive_retention": "20d"},
            "error",
            ["NEXTCLICK_RETRAIN_WINDOW=30d", "NEXTCLICK_CLICKS_RETENTION=10d"],
        ),
        ({"clicks_retention": "10d"}, "warning", ["NEXTCLICK_RETRAIN_WINDOW=30d", "archive"]),
        ({"live_fewest": 5000, "live_most": 1000}, "error", ["NEXTCLICK_LIVE_FEWEST=5000", "NEXTCLICK_LIVE_MOST=1000"]),
        ({"live_longest": "30s"}, "error", ["NEXTCLICK_EVIDENCE_INTERVAL=1m", "NEXTCLICK_LIVE_LONGEST=30s"]),
        ({"answer_max_age": "10ms"}, "error", ["NEXTCLICK_LATENCY_OBJECTIVE=50ms", "NEXTCLICK_ANSWER_MAX_AGE=10ms"]),
        ({"member_id": "w-0", "group_timeout": "8s"}, "warning", ["NEXTCLICK_MEMBER_ID", "NEXTCLICK_GROUP_TIMEOUT=8s"]),
        ({"scoring": "int8", "device": "cuda"}, "warning", ["NEXTCLICK_SCORING=int8", "NEXTCLICK_DEVICE=cuda"]),
        ({"replication": 3, "archive_uri": "s3://b/a"}, "warning", ["NEXTCLICK_REPLICATION=3", "NEXTCLICK_MODELS_URI"]),
        ({"models_uri": "/x", "archive_uri": "/x/"}, "error", ["NEXTCLICK_MODELS_URI", "NEXTCLICK_ARCHIVE_URI"]),
        ({"clicks_topic": "nextclick-sessions-changelog"}, "error", ["NEXTCLICK_APP_ID=nextclick"]),
        ({"retrain_config": "none.toml"}, "error", ["NEXTCLICK_RETRAIN_CONFIG=none.toml"]),
        (
            {
                "security_protocol": "PLAINTEXT",
                "sasl_mechanism": "PLAIN",
                "sasl_username": "ann",
                "sasl_password": "x-y-z",
            },
            "error",
            ["NEXTCLICK_SASL_USERNAME", "NEXTCLICK_SECURITY_PROTOCOL=PLAINTEXT"],
        ),
        ({"ssl_cafile": "ca.pem"}, "error", ["NEXTCLICK_SSL_CAFILE", "NEXTCLICK_SECURITY_PROTOCOL=PLAINTEXT"]),
        ({"security_protocol": "SSL", "ssl_check_hostname": False}, "warning", ["NEXTCLICK_SSL_CHECK_HOSTNAME=false"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else None,
)
def test_two_settings_that_contradict_are_named_with_the_mend(
    changes: dict[str, Any], level: str, named: list[str]
) -> None:
    (finding,) = contradictions(settings(**changes))
    assert finding.level == level
    assert [name for name in named if name not in finding.meaning] == []
    assert finding.way_out
    assert "x-y-z" not in finding.meaning + finding.way_out


def test_partitions_without_a_leader_or_behind_are_named() -> None:
    healthy = {"partition": 0, "leader": 1, "replicas": [1, 2, 3], "isr": [1, 2, 3]}
    assert list(leaders("clicks", [healthy])) == []
    (behind,) = leaders("clicks", [healthy, healthy | {"partition": 1, "isr": [1, 2]}])
    assert behind.level is Level.WARNING
    assert "1 partition of topic 'clicks' with replicas out of sync, such as 1" in behind.meaning
    (dead,) = leaders("clicks", [healthy | {"partition": 4, "leader": -1, "isr": [2]}, healthy])
    assert dead.level is Level.ERROR
    assert "1 partition of topic 'clicks' without a leader, such as 4" in dead.meaning


class SilentConsumer(AIOKafkaConsumer):  # type: ignore[misc]
    """Of a partition with records, none of which arrives."""

    def __init__(self, *_: object, **_options: object) -> None:
        """Connect nowhere."""

    async def beginning_offsets(self, places: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(places, 0)

    async def end_offsets(self, places: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(places, 5)

    def assign(self, places: list[TopicPartition]) -> None:
        """Nothing to do."""

    async def seek_to_beginning(self, *places: TopicPartition) -> None:
        """Nothing to do."""

    async def getmany(self, *_: object, **_options: object) -> dict[TopicPartition, list[object]]:
        return {}


async def test_a_changelog_of_which_nothing_arrives_has_no_age(monkeypatch: pytest.MonkeyPatch) -> None:
    @asynccontextmanager
    async def connected(consumer: object, _: Settings) -> AsyncIterator[object]:
        yield consumer

    monkeypatch.setattr(changelog, "new_consumer", SilentConsumer)
    monkeypatch.setattr(changelog, "connected", connected)
    own = settings()
    topics = {contract.name: contract for contract in topic_contracts(own)}
    cluster = Cluster(None, own, [Role.WORKER], 1, [], topics, {})
    (finding,) = await changelog.changelog(cluster)
    assert finding.level is Level.NOT_CHECKED
    assert "no record of partition 0 of topic 'nextclick-sessions-changelog' arrived within 1.5 s" in finding.meaning


@pytest.mark.parametrize(
    ("failure", "check", "words"),
    [
        (TimeoutError(), "broker", "no answer within 20 s"),
        (RequestTimedOutError(), "broker", "RequestTimedOutError"),
        (ConnectionResetError("connection reset"), "broker", "connection reset"),
        (NotControllerError(), "broker", "NotControllerError"),
        (SaslAuthenticationFailed("wrong"), "security", "wrong"),
        (ClusterAuthorizationFailedError(), "security", "ClusterAuthorizationFailedError"),
        (RefusedError("the listener asks for TLS: set it"), "security", "asks for TLS"),
        (SettingsError("NEXTCLICK_SSL_CAFILE=x is no file: set it"), "security", "NEXTCLICK_SSL_CAFILE=x"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
async def test_only_a_refusal_is_called_a_refusal(
    monkeypatch: pytest.MonkeyPatch, failure: Exception, check: str, words: str
) -> None:
    @asynccontextmanager
    async def connected_cluster(*_: object) -> AsyncIterator[Cluster]:
        with kafka_errors(settings()):
            raise failure
        yield

    monkeypatch.setattr(examination, "connected_cluster", connected_cluster)
    first, *others = await examination._of_the_cluster(settings(), [Role.WORKER])
    assert (first.check, first.level) == (check, Level.ERROR)
    assert words in first.meaning
    assert first.way_out
    assert words not in first.way_out
    assert {finding.level for finding in others} == {Level.NOT_CHECKED}
    assert {finding.meaning == "Kafka refuses this client" for finding in others} == {check == "security"}
