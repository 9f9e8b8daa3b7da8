import asyncio
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import PolicyViolationError

from messaging.clients import admin
from messaging.contracts import TopicContract, topic_contracts
from messaging.topics import check_topics, create_topics, existing_topics, topic_advice, topic_differences
from schemas.errors import BrokerError, TopicError
from schemas.settings import Settings
from tests.topics import create_uncompacted, create_with_producers_times


def test_topics_creates_every_topic_as_the_settings_say_and_again_changes_nothing(
    command_line: Any, bare_settings: Settings
) -> None:
    async def found() -> dict[str, TopicContract]:
        async with admin(bare_settings) as client:
            return await existing_topics(client, [contract.name for contract in topic_contracts(bare_settings)])

    first, again = (command_line.run("topics", settings=bare_settings) for _ in range(2))
    assert (first[0], first[1].count("created"), again[0], again[1].count("as it should be")) == (0, 5, 0, 5)
    existing = asyncio.run(found())
    for contract in topic_contracts(bare_settings):
        topic = existing[contract.name]
        assert (topic.partitions, topic.replication) == (contract.partitions, contract.replication)
        assert contract.whole_config.items() <= topic.config.items()
        assert topic.config["message.timestamp.type"] == "LogAppendTime"
    asyncio.run(check_topics(bare_settings))


def test_partitions_that_are_missing_are_added_to_all_topics_together(
    command_line: Any, kafka_settings: Settings
) -> None:
    wider = kafka_settings.model_copy(update={"partitions": 6})
    with pytest.raises(TopicError, match=r"it has 4 partitions, the settings say 6.*`nextclick topics` adds"):
        asyncio.run(check_topics(wider))
    first, again = (command_line.run("topics", settings=wider) for _ in range(2))
    assert (first[0], first[1].count("added"), again[0], again[1].count("as it should be")) == (0, 4, 0, 5)
    asyncio.run(check_topics(wider))


def test_partitions_beyond_the_settings_are_named_and_fail_but_stop_no_worker(
    command_line: Any, kafka_settings: Settings
) -> None:
    narrower = kafka_settings.model_copy(update={"partitions": 3})
    code, output, errors = command_line.run("topics", settings=narrower)
    assert (code, output.count("different"), errors.count("\n")) == (1, 4, 1)
    assert f"topic '{narrower.clicks_topic}': it has 4 partitions, the settings say 3" in errors
    with pytest.raises(TopicError, match="it has 4 partitions, the settings say 3"):
        asyncio.run(check_topics(narrower))
    asyncio.run(check_topics(narrower, may_have_more=True))


def test_another_retention_is_told_but_stops_no_worker(command_line: Any, kafka_settings: Settings) -> None:
    days = kafka_settings.clicks_retention.days
    asyncio.run(set_retention(kafka_settings, timedelta(days=1)))
    code, output, errors = command_line.run("topics", settings=kafka_settings)
    assert (code, output.count("different")) == (1, 1)
    assert f"its retention.ms is 86400000, the settings say {days * 86_400_000}" in errors
    asyncio.run(check_topics(kafka_settings))


def test_topics_that_delete_what_is_needed_later_are_told_with_what_is_lost(
    command_line: Any, bare_settings: Settings
) -> None:
    asyncio.run(create_uncompacted(bare_settings))
    code, output, errors = command_line.run("topics", settings=bare_settings)
    assert (code, output.count("different")) == (1, 2)
    assert "its cleanup.policy is delete, the settings say compact,delete (it also deletes states of sessions" in errors
    assert "its cleanup.policy is delete, the settings say compact (it also deletes the announcement" in errors
    lines = asyncio.run(check_topics(bare_settings))
    assert len(lines) == 2
    for line, topic in zip(lines, (bare_settings.models_topic, bare_settings.changelog_topic), strict=True):
        assert line.startswith(f"topic {topic!r}: its cleanup.policy is delete")


def test_topics_that_work_but_could_be_better_get_a_warning(command_line: Any, bare_settings: Settings) -> None:
    asyncio.run(create_with_producers_times(bare_settings))
    code, output, errors = command_line.run("topics", settings=bare_settings)
    assert (code, output.count("different"), output.count("see warning")) == (0, 0, 5)
    lines = errors.splitlines()
    assert len(lines) == 5
    assert lines[0] == (
        f"nextclick: warning: topic {bare_settings.clicks_topic!r}: its message.timestamp.type is CreateTime, a new "
        "topic gets LogAppendTime: the clocks of producers decide what a retention deletes; change it by "
        f"kafka-configs.sh --bootstrap-server {bare_settings.broker} --alter --entity-type topics --entity-name "
        f"{bare_settings.clicks_topic} --add-config message.timestamp.type=LogAppendTime"
    )
    asyncio.run(check_topics(bare_settings))


@pytest.mark.parametrize(("replication", "insync"), [(1, None), (2, None), (3, "2"), (5, "2")])
def test_two_replicas_acknowledge_where_there_are_three(replication: int, insync: str | None) -> None:
    for contract in topic_contracts(Settings(_env_file=None, replication=replication)):
        assert contract.whole_config.get("min.insync.replicas") == insync


@pytest.mark.parametrize(("insync", "warned"), [("1", True), ("2", False), ("3", False)])
def test_more_replicas_that_acknowledge_are_as_good(insync: str, warned: bool) -> None:
    settings = Settings(_env_file=None, replication=3)
    contract = topic_contracts(settings)[0]
    existing = replace(contract, config=contract.whole_config | {"min.insync.replicas": insync})
    line = topic_advice(contract, existing, settings)
    assert ("its min.insync.replicas is 1, a new topic gets 2: a record may be" in line) == warned
    assert bool(line) == warned


async def set_retention(settings: Settings, retention: timedelta) -> None:
    value = str(round(retention.total_seconds() * 1000))
    async with admin(settings) as client:
        await client.alter_configs(
            [ConfigResource(ConfigResourceType.TOPIC, settings.clicks_topic, {"retention.ms": value})]
        )


def test_a_missing_topic_says_how_to_create_it(bare_settings: Settings) -> None:
    with pytest.raises(TopicError, match=rf"no topic '{bare_settings.clicks_topic}', .*`nextclick topics`"):
        asyncio.run(check_topics(bare_settings))


def test_a_topic_that_kafka_refuses_is_named(bare_settings: Settings) -> None:
    async def create() -> None:
        async with admin(bare_settings) as client:
            await create_topics(client, [TopicContract(bare_settings.clicks_topic, 1, 7)])

    with pytest.raises(TopicError, match=rf"'{bare_settings.clicks_topic}' cannot be created: .*replication"):
        asyncio.run(create())


@pytest.mark.parametrize("command", [["topics"], ["recommendations"], ["produce", "clicks.csv"]])
def test_without_a_broker_every_command_says_so_at_once(
    command_line: Any, command: list[str], free_port: int, tmp_path: Path
) -> None:
    (tmp_path / "clicks.csv").write_text("session_id,item_id,timestamp\n1,2,3\n")
    nobody = Settings(_env_file=None, broker=f"127.0.0.1:{free_port}")
    code, output, errors = command_line.run(*command, settings=nobody)
    assert (code, output, errors.count("\n")) == (1, "", 1)
    assert f"no Kafka broker answers at 127.0.0.1:{free_port} (NEXTCLICK_BROKER)" in errors
    assert "nextclick broker" in errors


async def test_a_port_that_listens_but_is_no_kafka_does_not_hang() -> None:
    connections: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _reader, writer: connections.append(writer), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    begin = time.monotonic()
    with pytest.raises(BrokerError, match="no Kafka broker answers"):
        async with admin(Settings(_env_file=None, broker=f"127.0.0.1:{port}")):
            pass
    assert time.monotonic() - begin < 8
    server.close()
    for connection in connections:
        connection.close()


def test_clean_up_policies_are_compared_without_their_order() -> None:
    contract = TopicContract("t", 1, 1, {"cleanup.policy": "compact,delete"})
    assert topic_differences(contract, TopicContract("t", 1, 1, {"cleanup.policy": "delete,compact"})) == []
    assert topic_differences(contract, TopicContract("t", 1, 1, {"cleanup.policy": "delete"})) == [
        "its cleanup.policy is delete, the settings say compact,delete"
    ]


class PolicyClient:
    """A cluster with a policy: it refuses some configuration keys."""

    def __init__(self, *refused: str) -> None:
        self.refused, self.created = refused, dict[str, dict[str, str]]()

    async def create_topics(self, topics: list[Any]) -> Any:
        return SimpleNamespace(topic_errors=[self._create(topic) for topic in topics])

    def _create(self, topic: Any) -> tuple[str, int, str]:
        if not topic.topic_configs.keys().isdisjoint(self.refused):
            return topic.name, PolicyViolationError.errno, "not allowed here"
        self.created[topic.name] = topic.topic_configs
        return topic.name, 0, ""

    async def describe_topics(self) -> list[dict[str, Any]]:
        return [{"topic": name, "partitions": [{"leader": 1}]} for name in self.created]


@pytest.mark.parametrize(
    ("refused", "kept"),
    [
        (("min.insync.replicas",), {"message.timestamp.type"}),
        (("message.timestamp.type",), set()),
        (("message.timestamp.type", "min.insync.replicas"), set()),
    ],
)
async def test_topics_are_created_without_advised_configuration_that_the_cluster_refuses(
    refused: tuple[str, ...], kept: set[str]
) -> None:
    client, contracts = PolicyClient(*refused), topic_contracts(Settings(_env_file=None, replication=3))
    created = await create_topics(client, contracts)  # type: ignore[arg-type]
    assert sorted(created) == sorted(contract.name for contract in contracts)
    for contract in contracts:
        assert client.created[contract.name].keys() == contract.config.keys() | kept


async def test_a_needed_configuration_that_the_cluster_refuses_is_named() -> None:
    client, contracts = PolicyClient("segment.ms"), topic_contracts(Settings(_env_file=None))
    with pytest.raises(TopicError) as caught:
        await create_topics(client, contracts)  # type: ignore[arg-type]
    assert (
        "topic 'models' cannot be created: not allowed here (asked for: cleanup.policy=compact, segment.ms=21600000); "
        "let whoever runs the cluster create it"
    ) in str(caught.value)
