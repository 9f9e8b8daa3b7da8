"""The changelog topic is lost: the sessions on the worker's disk go on and are written again, on a real Kafka."""

import asyncio
import time
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import RecordsToDelete

from messaging.clients import admin
from schemas.settings import Settings
from tests.topics import create_again, create_uncompacted, create_with_brokers_times, delete_topic
from tests.worker.deployment import Deployment, WorkerProcess, clicks_of
from tests.worker.test_delivery import assert_undisturbed

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.slow,
    pytest.mark.xdist_group("incidents"),
    pytest.mark.usefixtures("compiled_scorer"),
]

SESSIONS = 40
FIRST = clicks_of(SESSIONS, 5)


def more_clicks(sessions: int, minutes: int) -> list[tuple[str, int, int]]:
    """More clicks of the first sessions, some minutes later."""
    names = {f"s0-{number}" for number in range(sessions)}
    again = clicks_of(SESSIONS, 2, seed=0)
    return [(session, item, moment + minutes * 60_000) for session, item, moment in again if session in names]


def after_the_first_clicks(deployment: Deployment) -> WorkerProcess:
    """A worker that has answered and stored the first clicks."""
    deployment.publish()
    worker = deployment.start("w1", NEXTCLICK_GROUP_TIMEOUT="6s")
    deployment.send(FIRST)
    deployment.wait_until_all_answered()
    deployment.wait_until(lambda: len(deployment.states()) == SESSIONS, "the states")
    return worker


@pytest.mark.parametrize("while_it", ["runs", "is stopped"])
def test_sessions_on_the_disk_go_on_and_are_written_to_a_changelog_that_was_created_again(
    deployment: Deployment, while_it: str
) -> None:
    worker = after_the_first_clicks(deployment)
    if while_it == "is stopped":
        assert worker.stop() == 0
    asyncio.run(create_again(deployment.settings, deployment.settings.changelog_topic))
    assert not deployment.states()
    if while_it == "is stopped":
        worker = deployment.start("w1", NEXTCLICK_GROUP_TIMEOUT="6s")
    deployment.send(more_clicks(SESSIONS // 4, minutes=1))
    deployment.wait_until_all_answered()
    deployment.wait_until(lambda: len(deployment.states()) == SESSIONS, "the states of all sessions")
    assert worker.said.count("states of sessions were written to it again") == 1
    assert worker.stop() == 0
    other = deployment.start("w2", NEXTCLICK_GROUP_TIMEOUT="6s")
    deployment.send(more_clicks(SESSIONS, minutes=2))
    assert_undisturbed(deployment, duplicates_allowed=False)
    assert "written to it again" not in other.said


def delete_states(settings: Settings) -> None:
    """Delete all records of the changelog, as a retention does."""

    async def delete() -> None:
        places = [TopicPartition(settings.changelog_topic, number) for number in range(settings.partitions)]
        async with admin(settings) as client, AIOKafkaConsumer(bootstrap_servers=settings.brokers) as consumer:
            ends = await consumer.end_offsets(places)
            await client.delete_records({place: RecordsToDelete(end) for place, end in ends.items()})

    asyncio.run(delete())


@pytest.mark.parametrize("lost_by", ["create again", "cleanup.policy=delete"])
def test_sessions_that_are_lost_with_changelog_and_disk_begin_anew_and_it_is_said(
    bare_settings: Settings, tmp_path: Path, lost_by: str
) -> None:
    uncompacted = lost_by != "create again"
    asyncio.run(create_uncompacted(bare_settings) if uncompacted else create_with_brokers_times(bare_settings))
    deployment = Deployment(bare_settings, tmp_path)
    try:
        worker = after_the_first_clicks(deployment)
        assert worker.said.count("also deletes states of sessions that go on") == uncompacted
        assert worker.stop() == 0
        if uncompacted:
            delete_states(bare_settings)
        else:
            asyncio.run(create_again(bare_settings, bare_settings.changelog_topic))
        assert_sessions_begin_anew(deployment)
    finally:
        deployment.close()


def assert_sessions_begin_anew(deployment: Deployment) -> None:
    """A worker on an empty disk says that the states are lost, and answers the next clicks as those of new sessions."""
    answered = deployment.outcome().clicks
    later = round(time.time() * 1000)
    worker = deployment.start("w2", NEXTCLICK_GROUP_TIMEOUT="6s")
    deployment.send(more_clicks(SESSIONS, minutes=1))
    deployment.wait_until_all_answered()
    expected, _ = deployment.undisturbed(after=later)
    outcome = deployment.outcome()
    assert expected.keys() == outcome.clicks.keys() - answered.keys()
    assert not outcome.unequal(expected)
    assert outcome.duplicates == 0
    assert worker.said.count("has no state of partitions 0, 1, 2, 3, and neither has this disk") == 1


@pytest.mark.long
def test_a_changelog_that_stays_away_ends_the_worker_with_one_line_and_nothing_is_lost(
    deployment: Deployment,
) -> None:
    worker = after_the_first_clicks(deployment)
    changelog = deployment.settings.changelog_topic
    asyncio.run(delete_topic(deployment.settings, changelog))
    deployment.send(more_clicks(SESSIONS, minutes=1))
    deployment.wait_until(lambda: not worker.alive, "the end", 120)
    assert worker.process.returncode == 1
    last = worker.said.splitlines()[-1]
    assert f"nothing can be written to topic '{changelog}'" in last
    assert "`nextclick topics` creates what is missing" in last
    assert "Traceback" not in worker.said
    again = deployment.start("w1")
    assert again.process.wait(60) == 1
    assert f"has no topic '{changelog}': create what is missing by `nextclick topics`" in again.said.splitlines()[-1]
    asyncio.run(create_with_brokers_times(deployment.settings))
    deployment.start("w1", NEXTCLICK_GROUP_TIMEOUT="6s")
    assert_undisturbed(deployment, duplicates_allowed=True)
