"""`nextclick doctor` on a real Kafka: what is healthy, and each fault of broker, topics, group and changelog."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest

from messaging.clients import admin, connected, new_consumer, new_producer
from messaging.contracts import TopicContract, topic_contracts
from messaging.topics import create_topics
from nextclick.doctor import changelog
from nextclick.doctor.finding import Level
from nextclick.doctor.roles import Role
from schemas.settings import Settings
from tests.command_line import CommandLine
from tests.nextclick.doctor.examined import bad, changed, findings, the
from tests.topics import delete_topic
from tests.worker.deployment import bundle


def create_other(settings: Settings, topic: str, **config: str) -> None:
    """Create the topics of the settings, one of them with another configuration."""

    def made(contract: TopicContract) -> TopicContract:
        if contract.name != topic:
            return contract
        other = {key.replace("_", "."): value for key, value in config.items()}
        return replace(contract, config=contract.config | other, advised=contract.advised | other)

    async def create() -> None:
        async with admin(settings) as client:
            await create_topics(client, [made(contract) for contract in topic_contracts(settings)])

    asyncio.run(create())


async def send(settings: Settings, topic: str, *messages: tuple[bytes, bytes]) -> None:
    async with connected(new_producer(settings, "test"), settings) as producer:
        for key, value in messages:
            await producer.send(topic, value, key=key, partition=0)
        await producer.flush()


def test_a_healthy_deployment_has_no_fault(kafka_settings: Settings, command_line: CommandLine, tmp_path: Path) -> None:
    published = command_line.run("models", "publish", str(bundle(tmp_path / "v1", "v1")), settings=kafka_settings)
    assert published[0] == 0, published
    code, output, _ = command_line.run("doctor", "--json", settings=kafka_settings)
    found = [json.loads(line) for line in output.splitlines()]
    checks = {finding["check"] for finding in found if finding["level"] == "ok"}
    assert code == 0, found
    assert checks == {
        "settings", "broker", "security", "permissions", "topics", "group", "changelog", "clock", "model", "registry",
        "device", "disk", "versions",
    }  # fmt: skip
    assert [finding for finding in found if finding["level"] != "ok"] == []
    code, output, _ = command_line.run("doctor", settings=kafka_settings)
    assert code == 0
    assert output.splitlines()[-1] == "0 errors, 0 warnings"


def test_without_a_broker_the_rest_is_checked_all_the_same(
    bare_settings: Settings, free_port: int, command_line: CommandLine
) -> None:
    nowhere = changed(bare_settings, broker=f"127.0.0.1:{free_port}")
    code, output, _ = command_line.run("doctor", "--json", settings=nowhere)
    found = {finding["check"]: finding for finding in map(json.loads, output.splitlines())}
    assert code == 1
    assert found["broker"]["level"] == "error"
    assert f"no Kafka broker answers at 127.0.0.1:{free_port}" in found["broker"]["meaning"]
    assert "nextclick broker" in found["broker"]["way_out"]
    assert {found[check]["level"] for check in ("security", "topics", "group", "clock", "model")} == {"not checked"}
    assert {found[check]["level"] for check in ("settings", "registry", "disk")} == {"ok"}


def test_settings_that_cannot_be_read_are_a_finding(command_line: CommandLine) -> None:
    (command_line.directory / ".env").write_text("NEXTCLICK_SECURITY_PROTOCOL=SASL_SSL\n")
    code, output, _ = command_line.run("doctor", "--json")
    (finding,) = map(json.loads, output.splitlines())
    assert (code, finding["check"], finding["level"]) == (1, "settings", "error")
    assert "NEXTCLICK_SASL_MECHANISM" in finding["meaning"]


def test_missing_topics_and_other_partition_counts_are_errors(kafka_settings: Settings) -> None:
    asyncio.run(delete_topic(kafka_settings, kafka_settings.rejected_topic))
    faults = bad(findings(changed(kafka_settings, partitions=2), Role.WORKER))
    by_topic = {topic: f for f in faults for topic in kafka_settings.model_dump().values() if repr(topic) in f.meaning}
    missing, more = by_topic[kafka_settings.rejected_topic], by_topic[kafka_settings.clicks_topic]
    assert (missing.level, more.level) == (Level.ERROR, Level.ERROR)
    assert "does not exist" in missing.meaning
    assert "nextclick topics" in missing.way_out
    assert more.meaning.endswith("has 4 partitions, the settings say 2: clicks on partitions 2 to 3 are not answered")
    assert all("workers stop" not in fault.meaning for fault in faults)
    assert "NEXTCLICK_PARTITIONS=4" in more.way_out
    fewer = bad(findings(changed(kafka_settings, partitions=6), Role.PRODUCER))
    assert ["`nextclick topics`" in finding.way_out for finding in fewer] == [True]


def test_a_changelog_that_is_deleted_only_loses_states(bare_settings: Settings) -> None:
    create_other(bare_settings, bare_settings.changelog_topic, cleanup_policy="delete")
    (fault,) = bad(findings(bare_settings, Role.WORKER))[:1]
    assert (fault.check, fault.level) == ("topics", Level.ERROR)
    assert "cleanup.policy=delete, it must be compact,delete" in fault.meaning
    assert "they begin anew if a worker loses its disk" in fault.meaning
    assert (
        f"--entity-name {bare_settings.changelog_topic} --add-config cleanup.policy=[compact,delete]" in fault.way_out
    )


def test_a_retention_below_the_window_of_retraining_is_named(bare_settings: Settings) -> None:
    create_other(bare_settings, bare_settings.clicks_topic, retention_ms=str(3 * 86_400_000), retention_bytes="1000000")
    faults = [fault.meaning for fault in bad(findings(bare_settings, Role.ARCHIVER))]
    assert ["(3 days), less than NEXTCLICK_RETRAIN_WINDOW=30d" in fault for fault in faults] == [True, False]
    assert "retention.bytes=1000000" in faults[1]


def test_times_of_producers_and_replicas_out_of_reach_are_named(bare_settings: Settings) -> None:
    create_other(
        bare_settings, bare_settings.clicks_topic, message_timestamp_type="CreateTime", min_insync_replicas="2"
    )
    faults = bad(findings(bare_settings, Role.PRODUCER))
    assert [fault.level for fault in faults] == [Level.ERROR, Level.WARNING]
    assert "min.insync.replicas=2 and 1 replicas: Kafka refuses all writes" in faults[0].meaning
    assert "the clocks of producers decide what a retention deletes" in faults[1].meaning
    assert faults[1].way_out.endswith("--add-config message.timestamp.type=LogAppendTime")


async def commit(settings: Settings, offset: int) -> None:
    """Commit as a consumer that is not a member of the group."""
    from aiokafka import TopicPartition

    consumer = new_consumer(settings, "test", group_id=settings.app_id)
    async with connected(consumer, settings):
        place = TopicPartition(settings.clicks_topic, 0)
        consumer.assign([place])
        await consumer.commit({place: offset})


def test_waiting_clicks_and_a_group_of_another_program(kafka_settings: Settings) -> None:
    asyncio.run(send(kafka_settings, kafka_settings.clicks_topic, *[(b"s", b"{}")] * 7))
    asyncio.run(commit(kafka_settings, 2))
    found = [finding for finding in findings(kafka_settings, Role.WORKER) if finding.check == "group"]
    assert [finding.level for finding in found] == [Level.OK, Level.WARNING]
    assert "5 clicks waiting, and no worker is connected" in found[1].meaning

    async def with_another_program() -> list[str]:
        consumer = new_consumer(kafka_settings, "other", group_id=kafka_settings.app_id)
        consumer.subscribe([kafka_settings.models_topic])
        async with connected(consumer, kafka_settings):
            await consumer.getmany(timeout_ms=4000)
            found = await asyncio.to_thread(findings, kafka_settings, Role.WORKER)
            return [finding.meaning for finding in found if finding.check == "group" and finding.level is Level.ERROR]

    (meaning,) = asyncio.run(with_another_program())
    assert f"is used by another program: its members read {kafka_settings.models_topic}" in meaning


def test_a_changelog_with_far_more_records_than_sessions(
    kafka_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changelog, "LOOKED_AT", 50)
    topic = kafka_settings.changelog_topic
    asyncio.run(send(kafka_settings, topic, *[(b"s%d" % number, b"x") for number in range(60)]))
    assert the(findings(kafka_settings, Role.WORKER), "changelog").level is Level.OK
    asyncio.run(delete_topic(kafka_settings, topic))
    create_other(kafka_settings, "")
    asyncio.run(send(kafka_settings, topic, *[(b"s%d" % (number % 5), b"x") for number in range(60)]))
    fault = the(findings(kafka_settings, Role.WORKER), "changelog")
    assert fault.level is Level.WARNING
    assert "90% are of a session that has a newer one" in fault.meaning


def test_expired_states_that_stay_are_named(bare_settings: Settings) -> None:
    create_other(bare_settings, bare_settings.changelog_topic, message_timestamp_type="CreateTime", retention_ms="-1")

    async def send_old() -> None:
        async with connected(new_producer(bare_settings, "test"), bare_settings) as producer:
            await producer.send_and_wait(bare_settings.changelog_topic, b"x", key=b"s", timestamp_ms=1_700_000_000_000)

    asyncio.run(send_old())
    fault = the(findings(bare_settings, Role.WORKER), "changelog")
    assert fault.level is Level.WARNING
    assert "sessions live 1d: Kafka does not delete what has expired" in fault.meaning


def test_the_bundle_that_serves_is_checked(kafka_settings: Settings, command_line: CommandLine, tmp_path: Path) -> None:
    assert the(findings(kafka_settings, Role.WORKER), "model").level is Level.WARNING
    command_line.run("models", "publish", str(bundle(tmp_path / "v1", "v1")), settings=kafka_settings)
    assert the(findings(kafka_settings, Role.WORKER), "model").level is Level.OK
    (Path(kafka_settings.models_uri) / "v1" / "items.json").write_text("{}")
    damaged = the(findings(kafka_settings, Role.WORKER), "model")
    assert damaged.level is Level.ERROR
    assert "the serving model v1 cannot be loaded" in damaged.meaning
    assert "is damaged: items.json has 2 bytes" in damaged.meaning
