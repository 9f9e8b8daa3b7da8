"""A group of workers is upgraded from nextclick 0.1 and downgraded again, one worker at a time, under load."""

import subprocess
import sys
import tarfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest

from schemas.settings import Settings
from tests.worker.deployment import ROOT, Deployment, WorkerProcess, clicks_of
from tests.worker.test_delivery import RATE, assert_undisturbed

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("delivery")]

COMMIT = "3f83ea3d9a57328a094127fcddfed3ef088cf7c4"
"""The last commit of 0.1."""

PUBLISH = """
import asyncio, sys
from pathlib import Path
from nextclick.publish import publish_bundle
from schemas.settings import Settings
from tests.worker.deployment import bundle

settings = Settings.model_validate_json(sys.argv[1])
asyncio.run(publish_bundle(bundle(Path(sys.argv[2])), settings))
"""


TOLD = ("broker", "clicks_topic", "recommendations_topic", "models_topic", "rejected_topic", "partitions", "models_uri")
"""Settings that publishing needs."""


@pytest.fixture(scope="module")
def version_0_1(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the code of 0.1, taken from the repository's history."""
    archive = subprocess.run(["git", "archive", COMMIT], cwd=ROOT, capture_output=True, check=False)
    if archive.returncode:
        pytest.skip(f"this checkout has no history with commit {COMMIT}: git fetch --unshallow")
    directory = tmp_path_factory.mktemp("version_0_1")
    with tarfile.open(fileobj=BytesIO(archive.stdout)) as files:
        files.extractall(directory, filter="data")
    return directory


@pytest.fixture
def deployment(kafka_settings: Settings, tmp_path: Path, version_0_1: Path) -> Iterator[Deployment]:
    """With a bundle that 0.1 wrote and announced."""
    deployment = Deployment(kafka_settings, tmp_path)
    path = tmp_path / "bundles" / "v1"
    command = [sys.executable, "-c", PUBLISH, kafka_settings.model_dump_json(include=set(TOLD)), str(path)]
    subprocess.run(command, cwd=version_0_1, check=True, timeout=120)
    deployment.bundles["v1"] = path
    yield deployment
    deployment.close()


@pytest.mark.long
def test_a_rolling_upgrade_and_back_loses_and_doubles_nothing(deployment: Deployment, version_0_1: Path) -> None:
    workers = [deployment.start("w1", root=version_0_1), deployment.start("w2", root=version_0_1)]
    deployment.send(clicks_of(1, 1, seed=9))
    deployment.wait_for_answers(1)
    clicks = clicks_of(400, 25)
    with deployment.flowing(clicks, RATE / 2):
        for data, root in (("w1", ROOT), ("w2", ROOT), ("w1", version_0_1), ("w2", version_0_1)):
            answered = deployment.count(deployment.settings.recommendations_topic)
            deployment.wait_for_answers(min(answered + 500, len(clicks)))
            leaving: WorkerProcess = workers.pop(0)
            assert leaving.stop() == 0, leaving.said[-4000:]
            workers.append(deployment.start(data, root=root))
            deployment.wait_for_answers(min(answered + 1500, len(clicks)))
    assert_undisturbed(deployment, duplicates_allowed=False, logs_known=False)


def test_a_worker_that_meets_a_state_of_a_newer_version_stops_and_leaves_it(
    kafka_settings: Settings, tmp_path: Path
) -> None:
    deployment = Deployment(kafka_settings, tmp_path)
    try:
        deployment.publish()
        first = deployment.start("w1")
        deployment.send(clicks_of(1, 3, seed=1))
        deployment.wait_until_all_answered()
        assert first.stop() == 0
        state = deployment.read(kafka_settings.changelog_topic)[-1]
        newer = b"\x04" + (state.value or b"")[1:]
        deployment.send_to_changelog(state.partition, state.key, newer)
        for data in ("w1", "empty"):  # recovery compares it with the state on the disk; the next click reads it
            worker = deployment.start(data)
            deployment.send(clicks_of(1, 3, seed=1)[:1])
            deployment.wait_until(lambda worker=worker: not worker.alive, "the end of the worker")
            assert worker.process.returncode == 1
            assert "stopping: a session state of format 4 was written by a newer nextclick" in worker.said
        latest = [m for m in deployment.read(kafka_settings.changelog_topic) if m.key == state.key][-1]
        assert latest.value == newer
    finally:
        deployment.close()


def test_states_go_on_in_format_3_once_it_is_switched_on(deployment: Deployment, version_0_1: Path) -> None:
    old = deployment.start("w1", root=version_0_1)
    deployment.send(clicks_of(40, 5, seed=1))
    deployment.wait_until_all_answered()
    assert old.stop() == 0
    deployment.settings = deployment.settings.model_copy(update={"state_format": 3})
    new = deployment.start("w1")
    deployment.send([(session, item, moment + 60_000) for session, item, moment in clicks_of(40, 5, seed=1)])
    assert_undisturbed(deployment, duplicates_allowed=False)
    latest = {message.key: message.value for message in deployment.read(deployment.settings.changelog_topic)}
    assert len(latest) == 40
    assert {value[0] for value in latest.values() if value} == {3}
    assert new.stop() == 0
