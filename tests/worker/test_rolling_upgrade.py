"""A group of workers is upgraded from an older nextclick and downgraded again, one worker at a time, under load."""

import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from functools import cache
from io import BytesIO
from pathlib import Path

import pytest

from schemas.settings import Settings
from tests.worker.deployment import ROOT, Deployment, WorkerProcess, clicks_of
from tests.worker.test_delivery import RATE, assert_undisturbed

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("delivery")]

COMMITS = {"0.1": "3f83ea3d9a57328a094127fcddfed3ef088cf7c4", "0.2.0": "f27a8fbd220d8a315dcbc0c50098eedcc7b8e076"}
"""The last commits of older versions."""

PUBLISHING = {"0.1": "nextclick.publish", "0.2.0": "modelregistry.publishing"}
"""Where they keep `publish_bundle`."""

PUBLISH = """
import asyncio, importlib, sys
from pathlib import Path
publish_bundle = importlib.import_module(sys.argv[3]).publish_bundle
from schemas.settings import Settings
from tests.worker.deployment import bundle

settings = Settings.model_validate_json(sys.argv[1])
asyncio.run(publish_bundle(bundle(Path(sys.argv[2])), settings))
"""


TOLD = ("broker", "clicks_topic", "recommendations_topic", "models_topic", "rejected_topic", "partitions", "models_uri")
"""Settings that publishing needs."""


@pytest.fixture(scope="module")
def checkouts(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A directory with the code of a version, taken from the repository's history."""

    @cache
    def checkout(version: str) -> Path:
        archive = subprocess.run(["git", "archive", COMMITS[version]], cwd=ROOT, capture_output=True, check=False)
        if archive.returncode:
            pytest.skip(f"this checkout has no history with commit {COMMITS[version]}: git fetch --unshallow")
        directory = tmp_path_factory.mktemp("older")
        with tarfile.open(fileobj=BytesIO(archive.stdout)) as files:
            files.extractall(directory, filter="data")
        return directory

    return checkout


@pytest.fixture
def version() -> str:
    """The older version, unless a test names others."""
    return "0.1"


@pytest.fixture
def older(version: str, checkouts: Callable[[str], Path]) -> Path:
    """The directory with the older version's code."""
    return checkouts(version)


@pytest.fixture
def deployment(kafka_settings: Settings, tmp_path: Path, version: str, older: Path) -> Iterator[Deployment]:
    """With a bundle that the older version wrote and announced."""
    deployment = Deployment(kafka_settings, tmp_path)
    path = tmp_path / "bundles" / "v1"
    told = kafka_settings.model_dump_json(include=set(TOLD))
    command = [sys.executable, "-c", PUBLISH, told, str(path), PUBLISHING[version]]
    subprocess.run(command, cwd=older, check=True, timeout=120)
    deployment.bundles["v1"] = path
    yield deployment
    deployment.close()


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("version", COMMITS)
def test_a_rolling_upgrade_and_back_loses_and_doubles_nothing(deployment: Deployment, older: Path) -> None:
    workers = [deployment.start("w1", root=older), deployment.start("w2", root=older)]
    deployment.send(clicks_of(1, 1, seed=9))
    deployment.wait_for_answers(1, 300)  # numba compiles the older version's functions
    clicks = clicks_of(400, 25)
    with deployment.flowing(clicks, RATE / 2):
        for data, root in (("w1", ROOT), ("w2", ROOT), ("w1", older), ("w2", older)):
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


def test_states_go_on_in_format_3_once_it_is_switched_on(deployment: Deployment, older: Path) -> None:
    old = deployment.start("w1", root=older)
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
