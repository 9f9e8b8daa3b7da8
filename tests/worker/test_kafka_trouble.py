"""Trouble with a real Kafka: what a worker says, and that it ends where it cannot serve."""

import asyncio
import logging
import time
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from clicklog.archive.archiver import Archiver
from clicklog.topic_reader import read_click_topic
from messaging.clients import admin
from messaging.contracts import topic_contracts
from messaging.topics import create_topics
from nextclick.broker import LocalBroker
from schemas.settings import Settings
from tests.worker.deployment import Deployment, WorkerProcess, health

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.xdist_group("incidents")]

STARTED = "no model is announced yet"


def about_kafka(worker: WorkerProcess) -> list[str]:
    """The warnings and errors since it was ready."""
    said = worker.said.partition(STARTED)[2].splitlines()[1:]
    return [line.split(": ", 1)[1] for line in said if ": " in line and " INFO " not in line]


def not_in_trouble(worker: WorkerProcess) -> bool:
    return worker.said.count("trouble with Kafka: ") == worker.said.count("Kafka works again: ")


def test_an_outage_is_two_lines_and_a_stop_is_heard_during_another(tmp_path: Path, free_port: int) -> None:
    with LocalBroker(data=tmp_path / "kafka") as broker:
        settings = Settings(_env_file=None, broker=broker.address, partitions=2, models_uri=str(tmp_path / "models"))

        async def create() -> None:
            async with admin(settings) as client:
                await create_topics(client, topic_contracts(settings))

        asyncio.run(create())
        deployment = Deployment(settings, tmp_path)
        try:
            worker = deployment.start(web=True, NEXTCLICK_WEB_PORT=str(free_port))
            deployment.wait_until(lambda: STARTED in worker.said and health(free_port) == 200, "a start", 90)
            deployment.wait_until(lambda: not_in_trouble(worker), "the end of the trouble of a first join", 30)
            before = len(about_kafka(worker))
            broker.kill()
            deployment.wait_until(lambda: health(free_port) == 503, "ill health", 30)
            broker.start()
            deployment.wait_until(lambda: "Kafka works again" in "".join(about_kafka(worker)[before:]), "an end", 120)
            deployment.wait_until(lambda: health(free_port) == 200, "good health", 60)
            first, *_, last = said = about_kafka(worker)[before:]
            assert first.startswith("trouble with Kafka: ")
            assert last.startswith("Kafka works again: the trouble lasted ")
            assert len(said) <= 4, said  # one a minute while it lasts
            broker.kill()
            deployment.wait_until(lambda: "trouble with Kafka" in about_kafka(worker)[-1], "trouble", 30)
            began = time.monotonic()
            assert worker.stop() == 0
            assert time.monotonic() - began < 15
        finally:
            deployment.close()


def test_of_two_workers_with_one_member_id_one_serves_and_the_other_ends(deployment: Deployment) -> None:
    first = deployment.start("w1", NEXTCLICK_MEMBER_ID="worker-1", NEXTCLICK_GROUP_TIMEOUT="8s")
    deployment.wait_until(lambda: STARTED in first.said, "a start")
    deployment.send([("a", 1, 1_700_000_000_000)])
    deployment.wait_for_answers(1)
    second = deployment.start("w2", NEXTCLICK_MEMBER_ID="worker-1", NEXTCLICK_GROUP_TIMEOUT="8s")
    deployment.wait_until(lambda: not first.alive, "the end of the older one")
    assert "NEXTCLICK_MEMBER_ID='worker-1': give every worker an id of its own" in first.said.splitlines()[-1]
    assert "Traceback" not in first.said
    deployment.send([("b", 1, 1_700_000_000_000)])
    deployment.wait_for_answers(2)
    assert second.alive


def test_a_time_out_that_the_broker_refuses_ends_the_worker_with_one_line(deployment: Deployment) -> None:
    worker = deployment.start(NEXTCLICK_GROUP_TIMEOUT="2s")  # Kafka allows 6 s to 30 min
    deployment.wait_until(lambda: not worker.alive, "the end")
    assert worker.process.returncode == 1
    assert "set NEXTCLICK_GROUP_TIMEOUT to a time between the broker's group.min" in worker.said.splitlines()[-1]
    assert "Traceback" not in worker.said


def test_a_static_member_that_comes_back_with_another_port_moves_nothing(
    deployment: Deployment, free_port: int
) -> None:
    stays = deployment.start("w1", web=True, NEXTCLICK_MEMBER_ID="worker-1", NEXTCLICK_WEB_PORT=str(free_port))
    leaves = deployment.start("w2", NEXTCLICK_MEMBER_ID="worker-2", NEXTCLICK_WEB_PORT="1")
    deployment.wait_until(lambda: STARTED in leaves.said and health(free_port) == 200, "a start", 90)
    deployment.send([(f"s{number}", 1, 1_700_000_000_000) for number in range(40)])
    deployment.wait_for_answers(40)
    deployment.wait_until(lambda: health(free_port) == 200, "good health", 30)
    assert leaves.stop() == 0
    deployment.send([(f"t{number}", 1, 1_700_000_000_000) for number in range(40)])
    deployment.start("w2", NEXTCLICK_MEMBER_ID="worker-2", NEXTCLICK_WEB_PORT="2")
    seen: set[int] = set()

    def all_answered() -> bool:
        seen.add(health(free_port))
        return deployment.count(deployment.settings.recommendations_topic) >= 80

    deployment.wait_until(all_answered, "all answers", 40)
    assert seen == {200}, f"a rebalance: {stays.said[-2000:]}"


def test_aborted_clicks_are_neither_answered_nor_archived_nor_trained_on(
    deployment: Deployment, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = deployment.settings.model_copy(update={"archive_uri": str(tmp_path / "archive")})
    worker = deployment.start()
    deployment.wait_until(lambda: STARTED in worker.said, "a start")
    kept, aborted = [f"kept{number}" for number in range(5)], [f"aborted{number}" for number in range(3)]

    async def send() -> None:
        producer = AIOKafkaProducer(bootstrap_servers=settings.brokers, transactional_id=settings.app_id)
        await producer.start()
        for session in [*kept, *aborted]:
            await producer.begin_transaction()
            value = f'{{"session_id": "{session}", "item_id": 1, "timestamp": 1700000000000}}'.encode()
            await producer.send_and_wait(settings.clicks_topic, value, key=session.encode(), partition=0)
            await (producer.commit_transaction() if session in kept else producer.abort_transaction())
        await producer.stop()

    asyncio.run(send())
    deployment.wait_for_answers(len(kept))
    with caplog.at_level(logging.WARNING):
        archiver = Archiver(settings)
        asyncio.run(asyncio.wait_for(archiver.run(asyncio.Event(), once=True), 30))
    assert archiver.done.clicks == len(kept)
    assert sorted(read_click_topic(settings).frame["session_id"]) == kept
    deployment.send([("after", 1, 1_700_000_000_000)])
    deployment.wait_for_answers(len(kept) + 1)
    answers = [message.json["session_id"] for message in deployment.read(settings.recommendations_topic)]
    assert sorted(answers) == ["after", *kept]
    assert "has no offsets" not in worker.said
    assert worker.stop() == 0
