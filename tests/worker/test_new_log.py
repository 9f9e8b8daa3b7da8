"""The click log begins anew under the sessions: every click is answered, and sessions go on, on a real Kafka."""

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from messaging.clients import admin
from messaging.contracts import topic_contracts
from messaging.topics import create_topics, existing_topics
from nextclick.broker import LocalBroker
from schemas.settings import Settings
from tests.worker.deployment import Deployment, Message, WorkerProcess, clicks_of
from worker.session_state import SessionState

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.slow,
    pytest.mark.xdist_group("incidents"),
    pytest.mark.usefixtures("compiled_scorer"),
]

FIRST = clicks_of(30, 6)
LATER = [(session, item, moment + 60_000) for session, item, moment in clicks_of(30, 3)]
"""More clicks of the same sessions, and fewer: the log ends below the offsets of the states."""

STILL_LATER = [(session, item, moment + 120_000) for session, item, moment in clicks_of(30, 2)]


def create_again(settings: Settings) -> None:
    """Delete the clicks topic if it exists, and create it."""

    async def create() -> None:
        topic = settings.clicks_topic
        async with admin(settings) as client:
            if topic in await existing_topics(client, [topic]):
                await client.delete_topics([topic])
                while await existing_topics(client, [topic]):
                    await asyncio.sleep(0.1)
            await create_topics(client, [each for each in topic_contracts(settings) if each.name == topic])

    asyncio.run(create())


def answers_of(deployment: Deployment, log: str) -> list[Message]:
    answers = deployment.read(deployment.settings.recommendations_topic)
    return [answer for answer in answers if answer.json["log"] == log]


def assert_all_answered(deployment: Deployment, log: str, expected: dict[str, list[object]]) -> None:
    """All clicks of a log have one answer each, as expected."""
    deployment.wait_until(lambda: len(answers_of(deployment, log)) >= len(expected), f"all answers of log {log}")
    answers = answers_of(deployment, log)
    assert {answer.json["id"]: answer.json["items"] for answer in answers} == expected
    assert len(answers) == len(expected)


def after_the_first_clicks(
    deployment: Deployment, **environment: str
) -> tuple[WorkerProcess, str, dict[bytes, SessionState]]:
    """A worker that has answered and stored the first clicks, the log that they are in, and the states."""
    deployment.publish()
    worker = deployment.start("w1", **environment)
    deployment.send(FIRST)
    log = deployment.log()
    expected, states = deployment.undisturbed()
    assert_all_answered(deployment, log, expected)
    deployment.wait_until(lambda: deployment.states() == with_times(states, deployment), "the states")
    return worker, log, states


@pytest.mark.parametrize("while_it", ["runs", "is stopped", "is stopped and loses its disk", "reads another topic"])
def test_clicks_of_a_new_log_are_answered_once_with_the_history_of_their_sessions(
    deployment: Deployment, while_it: str
) -> None:
    worker, first_log, states = after_the_first_clicks(deployment, NEXTCLICK_GROUP_TIMEOUT="6s")
    if while_it != "runs":
        assert worker.stop() == 0
    if while_it == "reads another topic":
        other = deployment.settings.clicks_topic + "-2"
        deployment.settings = deployment.settings.model_copy(update={"clicks_topic": other})
    create_again(deployment.settings)
    if while_it != "runs":
        worker = deployment.start("w2" if "disk" in while_it else "w1", NEXTCLICK_GROUP_TIMEOUT="6s")
    deployment.send(LATER)
    log = deployment.log()
    assert log != first_log
    expected, states = deployment.undisturbed(states)
    assert_all_answered(deployment, log, expected)
    assert worker.said.count("began anew") == 1
    assert worker.stop() == 0
    worker = deployment.start("w1")
    deployment.send(STILL_LATER)
    _, states = deployment.undisturbed(deployment.states())
    deployment.wait_until(
        lambda: len(answers_of(deployment, log)) >= len(LATER + STILL_LATER), "the clicks after a restart"
    )
    assert len(answers_of(deployment, log)) == len(LATER + STILL_LATER)
    assert worker.said.count("began anew") == ("disk" not in while_it)  # of the first start: it is the same file


def with_times(states: dict[bytes, SessionState], deployment: Deployment) -> dict[bytes, SessionState]:
    """The states with the times at which the worker stored them."""
    stored = deployment.states()
    for key, state in states.items():
        if key in stored:
            state.stored_at = stored[key].stored_at
    return states


@pytest.fixture
def truncatable(tmp_path: Path) -> Iterator[tuple[Deployment, LocalBroker]]:
    """A deployment with one partition on a broker of its own."""
    with LocalBroker(data=tmp_path / "kafka") as broker:
        settings = Settings(
            _env_file=None,
            broker=broker.address,
            partitions=1,
            models_uri=str(tmp_path / "models"),
            group_timeout="6s",
        )

        async def create() -> None:
            async with admin(settings) as client:
                await create_topics(client, topic_contracts(settings))

        asyncio.run(create())
        deployment = Deployment(settings, tmp_path)
        yield deployment, broker
        deployment.close()


def lose_the_log(broker: LocalBroker, directory: Path) -> None:
    """Empty the clicks partition, as an election of a replica without the data does; the topic stays the same."""
    broker.stop()
    (partition,) = directory.rglob("clicks-0")
    shutil.rmtree(partition)
    broker.start()


@pytest.mark.parametrize("while_it", ["runs", "is stopped"])
def test_clicks_of_a_truncated_log_are_answered(
    truncatable: tuple[Deployment, LocalBroker], tmp_path: Path, while_it: str
) -> None:
    deployment, broker = truncatable
    worker, log, states = after_the_first_clicks(deployment)
    if while_it != "runs":
        assert worker.stop() == 0
    lose_the_log(broker, tmp_path / "kafka")
    if while_it == "runs":
        deployment.wait_until(lambda: "it was truncated" in worker.said, "a line about it")
    deployment.send(LATER)
    if while_it != "runs":
        worker = deployment.start("w1")
    assert deployment.log() == log
    expected, _ = deployment.undisturbed(states)
    assert_all_answered(deployment, log + ".1", expected)
    assert worker.said.count("it was truncated") == 1
    assert "began anew" not in worker.said
