"""Members of the consumer group that wait, come and go, with real workers on a real Kafka."""

import asyncio
import contextlib
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from schemas.settings import Settings
from tests.topics import create_with_brokers_times
from tests.worker.deployment import Deployment, clicks_of
from tests.worker.test_delivery import RATE, assert_undisturbed, positions

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.slow,
    pytest.mark.xdist_group("incidents"),
    pytest.mark.usefixtures("compiled_scorer"),
]


@pytest.fixture
def one_partition(bare_settings: Settings, tmp_path: Path) -> Iterator[Deployment]:
    """A deployment whose topics have one partition."""
    settings = bare_settings.model_copy(update={"partitions": 1})
    asyncio.run(create_with_brokers_times(settings))
    deployment = Deployment(settings, tmp_path)
    yield deployment
    deployment.close()


def health(port: int) -> tuple[int, dict[str, Any]]:
    """Status and body of the page /health; (0, {}) while it does not answer."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)
    except OSError:
        return 0, {}


def test_a_worker_without_a_partition_is_healthy_and_takes_over(one_partition: Deployment, free_port: int) -> None:
    deployment = one_partition
    deployment.publish()
    working = deployment.start("w1", NEXTCLICK_GROUP_TIMEOUT="6s")
    deployment.send(clicks_of(50, 2, seed=9))
    deployment.wait_for_answers(100)
    deployment.start("w2", NEXTCLICK_GROUP_TIMEOUT="6s", NEXTCLICK_WEB_PORT=str(free_port), web=True)
    with deployment.flowing(clicks_of(200, 15), RATE):
        deployment.wait_until(lambda: health(free_port)[0] == 200, "a standby that is well")
        assert health(free_port)[1]["partitions"] == []
        working.kill()
        deployment.wait_until(lambda: health(free_port)[1].get("partitions") == [0], "the take-over")
    assert_undisturbed(deployment, duplicates_allowed=True)
    deployment.wait_until(lambda: health(free_port)[0] == 200, "good health")


@contextlib.contextmanager
def knocking(settings: Settings) -> Iterator[None]:
    """Another program's consumer joins the worker's group again and again, while the block runs."""
    over = threading.Event()

    async def knock() -> None:
        while not over.is_set():
            consumer = AIOKafkaConsumer(
                settings.clicks_topic, bootstrap_servers=settings.brokers, group_id=settings.app_id
            )
            with contextlib.suppress(KafkaError, TimeoutError):
                await asyncio.wait_for(consumer.start(), 2)
            await consumer.stop()

    thread = threading.Thread(target=asyncio.run, args=(knock(),))
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_members_that_join_and_leave_again_and_again_disturb_nobody(deployment: Deployment) -> None:
    """A worker that is killed and started again every ten seconds or so, and a consumer of another program."""
    deployment.publish()
    steady = deployment.start("w1", NEXTCLICK_GROUP_TIMEOUT="6s")
    deployment.send(clicks_of(1, 1, seed=9))
    deployment.wait_for_answers(1)
    clicks = clicks_of(300, 20)
    with deployment.flowing(clicks, RATE / 2), knocking(deployment.settings):
        for _visit in range(3):
            visitor = deployment.start("w2", NEXTCLICK_GROUP_TIMEOUT="6s")
            deployment.wait_until(lambda visitor=visitor: "is ready" in visitor.said, "the visitor")  # type: ignore[misc]
            answered = deployment.count(deployment.settings.recommendations_topic)
            deployment.wait_for_answers(min(answered + 500, len(clicks)))
            visitor.kill()
    assert_undisturbed(deployment, duplicates_allowed=True)
    assert steady.alive


def test_rebalances_during_a_recovery_lose_nothing(deployment: Deployment) -> None:
    """Every worker on an empty disk reads the changelog slowly, and the next member comes or goes before its end."""
    deployment.publish()
    first = deployment.start("w1", NEXTCLICK_GROUP_TIMEOUT="6s")
    deployment.send(clicks_of(300, 10))
    deployment.wait_until_all_answered()
    first.kill()
    slow = {"module": "tests.worker.slow_recovery", "NEXTCLICK_GROUP_TIMEOUT": "6s"}
    with deployment.flowing([(s, i, moment + 60_000) for s, i, moment in clicks_of(300, 4)], RATE / 4):
        last = deployment.start("w2", **slow)
        deployment.wait_until(lambda: "slow fetch" in deployment.workers[1].said, "a recovery")
        for name in ("w3", "w4"):
            coming = deployment.start(name, **slow)
            deployment.wait_until(lambda coming=coming: "slow fetch" in coming.said, "a recovery")  # type: ignore[misc]
            last.kill()
            last = coming
    assert_undisturbed(deployment, duplicates_allowed=True)


def test_a_swap_to_a_model_of_twice_the_memory_during_a_rebalance_loses_no_session(deployment: Deployment) -> None:
    """Each answer is that of its model for the whole session: a swap rebuilds the memory from the history."""
    deployment.publish("v1", seed=1, hidden=32)
    workers = [deployment.start("w1", NEXTCLICK_GROUP_TIMEOUT="6s")]
    clicks = clicks_of(300, 12)
    with deployment.flowing(clicks[:2400], RATE / 2):
        deployment.wait_for_answers(300)
        workers.append(deployment.start("w2", NEXTCLICK_GROUP_TIMEOUT="6s"))
        deployment.wait_until(lambda: "model v1 is ready" in workers[1].said, "the second worker")
        deployment.publish("v2", seed=2, hidden=64)
        for worker in workers:
            deployment.wait_until(lambda worker=worker: "model v2 is ready" in worker.said, "the swap")  # type: ignore[misc]
    deployment.send(clicks[2400:])
    deployment.wait_until_all_answered()
    bundles, outcome = dict(deployment.bundles), deployment.outcome()
    answered = {answer["model_version"] for answers in outcome.answers.values() for answer in answers}
    assert answered == {"v1", "v2"}
    assert outcome.duplicates == 0
    for version, path in bundles.items():
        deployment.bundles = {version: path}
        expected, states = deployment.undisturbed()
        mine = {name: items for name, items in expected.items() if outcome.answers[name][0]["model_version"] == version}
        assert mine
        assert not outcome.unequal(mine)
        deployment.wait_until(lambda states=states: positions(deployment.states()) == positions(states), "the states")  # type: ignore[misc]
    assert {key: state.history for key, state in deployment.states().items()} == {
        key: state.history for key, state in states.items()
    }
