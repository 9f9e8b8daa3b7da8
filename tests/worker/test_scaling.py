"""Static members, as the pods of the StatefulSet, while their number doubles and halves under load."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.settings import Settings
from tests.worker.deployment import Deployment, WorkerProcess, clicks_of
from tests.worker.test_delivery import RATE, assert_undisturbed

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("delivery"), pytest.mark.usefixtures("compiled_scorer")]


@pytest.fixture
def deployment(kafka_settings: Settings, tmp_path: Path) -> Iterator[Deployment]:
    deployment = Deployment(kafka_settings, tmp_path)
    yield deployment
    deployment.close()


def start(deployment: Deployment, name: str, timeout: str = "8s") -> WorkerProcess:
    return deployment.start(name, NEXTCLICK_MEMBER_ID=name, NEXTCLICK_GROUP_TIMEOUT=timeout)


def assignments(worker: WorkerProcess) -> int:
    """How often a worker that stays was given its partitions: once for each rebalance."""
    return worker.said.count("assigned: ")


def test_twice_as_many_workers_and_as_many_as_before_cost_a_rebalance_for_each_that_comes_or_goes(
    deployment: Deployment,
) -> None:
    deployment.publish()
    first, second = start(deployment, "worker-0"), start(deployment, "worker-1")
    deployment.send(clicks_of(1, 1, seed=9))
    deployment.wait_for_answers(1)
    deployment.wait_until(lambda: assignments(first) > 0 and assignments(second) > 0, "both workers with partitions")
    before = assignments(first)
    clicks = clicks_of(400, 20)
    with deployment.flowing(clicks, RATE / 2):
        coming = [start(deployment, name) for name in ("worker-2", "worker-3")]
        deployment.wait_until(
            lambda: all(assignments(worker) > 0 for worker in coming), "four workers with partitions", 150
        )
        deployment.wait_for_answers(len(clicks) // 3)
        for worker in coming:
            assert worker.stop() == 0, worker.said[-4000:]
    deployment.wait_until_all_answered()
    assert assignments(first) - before <= 4, first.said
    assert_undisturbed(deployment, duplicates_allowed=False)


def test_a_static_member_that_is_restarted_moves_nothing(deployment: Deployment) -> None:
    deployment.publish()
    first, second = start(deployment, "worker-0", "45s"), start(deployment, "worker-1", "45s")
    deployment.wait_until(lambda: assignments(first) > 0 and assignments(second) > 0, "both workers with partitions")
    deployment.send(clicks_of(50, 2))
    deployment.wait_until_all_answered()
    before = assignments(first)
    assert second.stop() == 0
    again = start(deployment, "worker-1", "45s")
    deployment.send([(session, item, moment + 60_000) for session, item, moment in clicks_of(50, 2, seed=0)])
    deployment.wait_until_all_answered()
    assert again.alive
    assert assignments(first) == before, first.said
