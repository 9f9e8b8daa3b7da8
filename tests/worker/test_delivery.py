"""The delivery guarantee with real workers on a real Kafka: no click is lost and none is applied twice."""

import signal
import time
from random import Random

import pytest

from tests.worker.deployment import Deployment, WorkerProcess, clicks_of
from worker.session_state import SessionState

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("delivery"), pytest.mark.usefixtures("compiled_scorer")]

RATE = 300


def positions(states: dict[bytes, SessionState]) -> dict[bytes, int]:
    """The offset of each session's last click."""
    return {key: state.offset for key, state in states.items()}


def assert_undisturbed(deployment: Deployment, *, duplicates_allowed: bool, logs_known: bool = True) -> None:
    """Every click is answered, and all answers and session states equal those of an undisturbed run.

    Older versions write states that do not know their log.
    """
    deployment.wait_until_all_answered()
    assert not any("began anew" in worker.said for worker in deployment.workers)
    outcome = deployment.outcome()
    answers, states = deployment.undisturbed()
    assert not outcome.unequal(answers)
    if not duplicates_allowed:
        assert outcome.duplicates == 0
    deployment.wait_until(
        lambda: positions(deployment.states()) == positions(states), "the last state of every session"
    )
    for key, state in deployment.states().items():
        expected = states[key]
        expected.stored_at = state.stored_at
        if not logs_known:
            expected.log = state.log
        assert state == expected


def test_an_undisturbed_run_answers_every_click_once(deployment: Deployment) -> None:
    deployment.publish()
    deployment.start()
    deployment.send(clicks_of(200, 10))
    assert_undisturbed(deployment, duplicates_allowed=False)


def test_workers_that_join_and_leave_lose_and_double_nothing(deployment: Deployment) -> None:
    deployment.publish()
    workers = [deployment.start("w1")]
    deployment.send(clicks_of(1, 1, seed=9))
    deployment.wait_for_answers(1)
    clicks = clicks_of(400, 25)
    with deployment.flowing(clicks, RATE / 2):
        for turn in range(4):
            answered = deployment.count(deployment.settings.recommendations_topic)
            workers.append(deployment.start(f"w{2 + turn % 2}"))
            deployment.wait_for_answers(min(answered + 1000, len(clicks)))
            leaving = workers.pop(0)
            assert leaving.stop() == 0, leaving.said[-4000:]
    assert_undisturbed(deployment, duplicates_allowed=False)


def test_a_worker_killed_and_started_again_on_its_disk_loses_nothing(deployment: Deployment) -> None:
    deployment.publish()
    with deployment.flowing(clicks_of(400, 25), RATE):
        for turn in range(5):
            worker = deployment.start()
            deployment.wait_for_answers(1500 * (turn + 1))
            worker.kill()
        deployment.start()
    assert_undisturbed(deployment, duplicates_allowed=True)


def test_a_killed_workers_sessions_are_recovered_on_an_empty_disk(deployment: Deployment) -> None:
    deployment.publish()
    with deployment.flowing(clicks_of(400, 20), RATE):
        for turn in range(3):
            worker = deployment.start(f"w{turn}")
            deployment.wait_for_answers(1500 * (turn + 1))
            worker.kill()
        deployment.start("w9")
    assert_undisturbed(deployment, duplicates_allowed=True)


def test_joins_leaves_and_kills_in_any_order_lose_nothing(deployment: Deployment) -> None:
    """Workers start and stop on three disks, often before the previous rebalance has ended."""
    deployment.publish()
    random = Random(203)
    places: dict[int, WorkerProcess] = {}
    with deployment.flowing(clicks_of(400, 15), RATE / 2):
        for _ in range(14):
            place = random.randrange(3)
            if place not in places:
                places[place] = deployment.start(f"w{place}", NEXTCLICK_GROUP_TIMEOUT="6s")
            elif len(places) > 1:
                leaving = places.pop(place)
                if random.random() < 0.5:
                    leaving.kill()
                else:
                    assert leaving.stop() in {0, -signal.SIGTERM}, leaving.said[-4000:]  # or during its start
            time.sleep(random.uniform(0, 6))
    assert_undisturbed(deployment, duplicates_allowed=True)


@pytest.mark.alone
def test_a_killed_workers_partitions_are_answered_by_another_within_15_seconds(deployment: Deployment) -> None:
    deployment.publish()
    dying, other = deployment.start("w1"), deployment.start("w2")
    deployment.send(clicks_of(100, 1, seed=9))
    for worker in (dying, other):
        deployment.wait_until(lambda worker=worker: "model v1 is ready" in worker.said, "both workers")  # type: ignore[misc]
    with deployment.flowing(clicks_of(300, 12), RATE):
        deployment.wait_for_answers(500)
        dying.kill()
        killed = round(time.time() * 1000)
    assert_undisturbed(deployment, duplicates_allowed=True)
    answers = deployment.read(deployment.settings.recommendations_topic)
    for partition in range(deployment.settings.partitions):
        first = min(a.timestamp for a in answers if a.partition == partition and a.timestamp > killed)
        assert first - killed < 15_000


@pytest.mark.parametrize("step", ["answers", "changelog", "states", "offsets"])
def test_a_crash_after_any_step_of_a_delivery_is_repaired(deployment: Deployment, step: str) -> None:
    deployment.publish()
    deployment.send(clicks_of(300, 10))
    crashing = deployment.start(
        module="tests.worker.crashing", NEXTCLICK_TEST_CRASH=f"{step}:3", NEXTCLICK_MAX_BATCH="256"
    )
    deployment.wait_until(lambda: not crashing.alive, "the crash")
    deployment.start()
    assert_undisturbed(deployment, duplicates_allowed=step == "answers")


def test_a_paused_worker_that_wakes_up_does_no_damage(deployment: Deployment) -> None:
    deployment.publish()
    sleeper = deployment.start("w1", NEXTCLICK_GROUP_TIMEOUT="6s")
    deployment.send(clicks_of(1, 1, seed=9))
    deployment.wait_for_answers(1)
    with deployment.flowing(clicks_of(400, 20), RATE):
        deployment.wait_for_answers(500)
        sleeper.pause()
        deployment.start("w2", NEXTCLICK_GROUP_TIMEOUT="6s")
        answered = deployment.count(deployment.settings.recommendations_topic)
        deployment.wait_for_answers(answered + 1000)
        sleeper.wake()
    assert_undisturbed(deployment, duplicates_allowed=True)
    assert sleeper.alive
