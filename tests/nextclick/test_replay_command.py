"""`nextclick replay` answers clicks again, as a worker would that begins with them."""

import asyncio
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import typer
from aiokafka import AIOKafkaProducer
from aiokafka.admin import NewPartitions
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from clicklog.items import ItemIndex
from messaging.clients import admin
from modelregistry.publishing import publish_bundle
from nextclick.commands.options import read_begin
from rankers.bundle import Bundle, write_bundle
from rankers.families import FAMILIES
from schemas.settings import Settings
from tests.worker.deployment import Deployment, clicks_of

pytestmark = [pytest.mark.kafka, pytest.mark.usefixtures("compiled_scorer")]

NOON = 1_764_331_200_000
"""2025-11-28 12:00 UTC."""


@pytest.fixture
def deployment(kafka_settings: Settings, tmp_path: Path) -> Deployment:
    deployment = Deployment(kafka_settings, tmp_path)
    deployment.publish()
    return deployment


def test_all_clicks_are_answered_on_a_topic_of_the_replay(deployment: Deployment, command_line: Any) -> None:
    clicks = clicks_of(30, 8)
    deployment.send(clicks)
    deployment.send_raw([(b"s", b"not a click")])
    code, output, errors = command_line.run("replay", "--name", "fixed", settings=deployment.settings)
    assert (code, errors) == (0, "")
    assert "answered 240 clicks again by v1, skipped 1 messages that are no valid click" in output
    expected, _ = deployment.undisturbed()
    answers = [answer.json for answer in deployment.read(deployment.settings.recommendations_topic + "-fixed")]
    assert {answer["id"]: answer["items"] for answer in answers} == expected
    assert len(answers) == 240
    assert {(answer["replay"], answer["log"]) for answer in answers} == {("fixed", deployment.log())}
    assert deployment.count(deployment.settings.recommendations_topic) == 0
    assert deployment.count(deployment.settings.changelog_topic) == 0


def test_since_begins_with_later_clicks(deployment: Deployment, command_line: Any) -> None:
    settings, topic = deployment.settings, deployment.settings.recommendations_topic + "-x"

    async def send_old() -> None:
        async with admin(settings) as client:  # else the broker sets the record times
            keep_times = {"message.timestamp.type": "CreateTime"}
            await client.alter_configs([ConfigResource(ConfigResourceType.TOPIC, settings.clicks_topic, keep_times)])
        async with AIOKafkaProducer(bootstrap_servers=settings.brokers) as producer:
            for session, item, moment in clicks_of(5, 2):
                value = msgspec.json.encode({"session_id": session, "item_id": item, "timestamp": moment})
                an_hour_ago = round(time.time() * 1000) - 3_600_000
                await producer.send(settings.clicks_topic, value, key=session.encode(), timestamp_ms=an_hour_ago)

    asyncio.run(send_old())
    later = clicks_of(7, 2, seed=1)
    deployment.send(later)
    code, output, _ = command_line.run("replay", "--name", "x", "--since", "30m", settings=settings)
    assert (code, "answered 14 clicks again" in output) == (0, True)
    assert {answer.json["session_id"] for answer in deployment.read(topic)} == {session for session, _, _ in later}


def test_a_failure_is_one_line(deployment: Deployment, command_line: Any) -> None:
    for since, said in (([], "has no click"), (["--since", "1h"], "has no click of that time: give a longer --since")):
        code, _, errors = command_line.run("replay", "--name", "x", *since, settings=deployment.settings)
        assert (code, errors.count("\n")) == (1, 1)
        assert errors.endswith(f"{said}\n")
    code, _, errors = command_line.run("replay", "--name", "a/b", settings=deployment.settings)
    assert (code, errors.count("\n")) == (1, 1)
    assert "--name 'a/b' is no name of a replay" in errors


def test_a_model_that_reads_more_than_a_session_stores_is_refused(deployment: Deployment, command_line: Any) -> None:
    larger = deployment.settings.model_copy(update={"session_history": 51})  # where the model was published
    network = FAMILIES["stamp"].untrained({"items": 30, "hidden": 4, "window": 51})
    items = ItemIndex(list(range(30)), np.ones(30, dtype=np.int64))
    write_bundle(Bundle("v2", network, items, family="stamp"), deployment.directory / "v2")
    asyncio.run(publish_bundle(deployment.directory / "v2", larger))
    deployment.send(clicks_of(3, 2))
    code, _, errors = command_line.run("replay", "--name", "x", settings=deployment.settings)
    assert (code, errors.count("\n")) == (1, 1)
    assert "v2 reads the last 51 items of a session, and NEXTCLICK_SESSION_HISTORY=50 keeps fewer" in errors


@pytest.mark.parametrize(
    ("text", "begin"),
    [
        ("3h", NOON - 3 * 3_600_000),
        ("36500d", 0),
        ("2025-11-28T12:00Z", NOON),
        (" 2025-11-28 12:00:00 ", NOON),
        ("2025-11-28T14:00:00+02:00", NOON),
        ("2025-11-28", NOON - 12 * 3_600_000),
        (str(NOON), NOON),
        ("0001-01-01", 0),
    ],
)
def test_since_is_a_duration_or_a_time(text: str, begin: int) -> None:
    assert read_begin(text, "--since", NOON) == begin


@pytest.mark.parametrize(
    "text", ["", "yesterday", "7 days", "28.11.2025", "20251128", "2025-13-01", "2025-11-28T25:00"]
)
def test_another_since_names_what_can_be_given(text: str) -> None:
    with pytest.raises(typer.BadParameter, match=r"or give a time like 2026-11-28T14:00Z"):
        read_begin(text, "--since", NOON)


def test_partitions_of_the_clicks_topic_that_the_settings_do_not_know_are_replayed(
    deployment: Deployment, command_line: Any
) -> None:
    deployment.send(clicks_of(20, 1))
    assert command_line.run("replay", "--name", "before", settings=deployment.settings)[0] == 0

    async def add_partitions() -> None:
        async with admin(deployment.settings) as client:
            await client.create_partitions({deployment.settings.clicks_topic: NewPartitions(8)})

    asyncio.run(add_partitions())
    deployment.send(clicks_of(40, 1, seed=1))
    code, output, errors = command_line.run("replay", "--name", "after", settings=deployment.settings)
    assert (code, errors, "answered 60 clicks again" in output) == (0, "", True)
    code, _, errors = command_line.run("replay", "--name", "before", settings=deployment.settings)
    assert (code, errors.count("\n")) == (1, 1)
    assert "of an earlier replay has 4 partitions" in errors
    assert "choose another --name" in errors
