"""`nextclick replay` answers clicks again, as a worker would that begins with them."""

import asyncio
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from messaging.clients import admin
from schemas.settings import Settings
from tests.worker.deployment import Deployment, clicks_of

pytestmark = [pytest.mark.kafka, pytest.mark.usefixtures("compiled_scorer")]


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
    code, _, errors = command_line.run("replay", "--name", "x", settings=deployment.settings)
    assert (code, errors.count("\n")) == (1, 1)
    assert "has no click of that time" in errors
    code, _, errors = command_line.run("replay", "--name", "a/b", settings=deployment.settings)
    assert (code, errors.count("\n")) == (1, 1)
    assert "--name 'a/b' is no name of a replay" in errors
