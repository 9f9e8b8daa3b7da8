"""Faults of the disk under the state directory, with real workers on a real Kafka: nothing is lost or differs."""

import shutil
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.worker.deployment import Deployment, WorkerProcess, clicks_of
from tests.worker.disk import Disk, disk, failing, flip_a_bit
from tests.worker.test_delivery import RATE, assert_undisturbed

__all__ = ["disk"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("disk"),
    pytest.mark.usefixtures("compiled_scorer"),
]

CLICKS = clicks_of(200, 9)
FIRST, SECOND, THIRD = CLICKS[:600], CLICKS[600:1200], CLICKS[1200:]


def stored_at(deployment: Deployment, data: str = "w1") -> list[Path]:
    """The databases of a worker, by partition."""
    return sorted((deployment.directory / data / "worker" / "v1" / "tables").glob("sessions-*.db"))


def answer(deployment: Deployment, clicks: list[tuple[str, int, int]], module: str = "worker") -> WorkerProcess:
    """Start the worker w1 and let it answer clicks."""
    worker = deployment.start(module=module)
    deployment.send(clicks)
    deployment.wait_until_all_answered()
    deployment.wait_until(lambda: _stored(deployment), "all states")
    return worker


def _stored(deployment: Deployment) -> bool:
    clicks = deployment.read(deployment.settings.clicks_topic)
    newest = {message.key: message.offset for message in clicks}
    states = deployment.states()
    return all(key in states and states[key].offset == offset for key, offset in newest.items() if key is not None)


def assert_stopped_with_one_line(worker: WorkerProcess, *words: str) -> None:
    assert worker.process.wait(60) == 1, worker.said[-4000:]
    last = worker.said.splitlines()[-1]
    assert all(word in last for word in words), last
    assert "Traceback" not in worker.said


def test_damaged_files_are_thrown_away_and_recovered_from_the_changelog(deployment: Deployment) -> None:
    deployment.publish()
    assert answer(deployment, FIRST).stop() == 0
    answer(deployment, [click for click in SECOND if click[0].endswith(("0", "2", "4", "6", "8"))]).kill()
    manifest, current, wal, table = stored_at(deployment)
    flip_a_bit(next(manifest.glob("MANIFEST-*")))
    flip_a_bit(current / "CURRENT")
    flip_a_bit(max(wal.glob("*.log"), key=lambda path: path.stat().st_size))
    flip_a_bit(max(table.glob("*.sst"), key=lambda path: path.stat().st_size))
    worker = deployment.start()
    deployment.send(THIRD)
    assert_stopped_with_one_line(worker, "damaged", "checksum", str(table), "recovers them from the changelog")
    for path in (manifest, current):
        assert f"the session states in {path} were damaged" in worker.said
    deployment.start()
    assert_undisturbed(deployment, duplicates_allowed=True)


@pytest.mark.parametrize("copied", ["older", "of another partition"])
def test_a_copy_of_the_states_that_is_put_back_changes_no_answer(deployment: Deployment, copied: str) -> None:
    deployment.publish()
    answer(deployment, FIRST).kill()
    place, copy = deployment.directory / "w1", deployment.directory / "copy"
    shutil.copytree(place, copy)
    answer(deployment, SECOND).kill()
    if copied == "older":
        shutil.rmtree(place)
        shutil.copytree(copy, place)
    else:
        first, second, *_ = stored_at(deployment)
        shutil.rmtree(first)
        shutil.copytree(second, first)
    worker = deployment.start()
    deployment.send(THIRD)
    assert_undisturbed(deployment, duplicates_allowed=True)
    assert ("are a copy of" in worker.said) == (copied == "of another partition")


def test_a_disk_that_hangs_for_half_a_minute_loses_nothing(disk: Disk, deployment: Deployment, free_port: int) -> None:
    deployment.publish()
    worker = deployment.start(web=True, NEXTCLICK_WEB_PORT=str(free_port))
    deployment.send(FIRST)
    deployment.wait_until_all_answered()
    deployment.wait_until(lambda: healthy(free_port), "health")
    with deployment.flowing(SECOND + THIRD, RATE / 10):
        with disk.hanging():
            time.sleep(15)
            assert not healthy(free_port)
            time.sleep(15)
        deployment.wait_until(lambda: "was slow" in worker.said, "a line about the disk")
    assert_undisturbed(deployment, duplicates_allowed=True)  # the group gave the partitions to nobody, but might have
    assert worker.alive
    deployment.wait_until(lambda: healthy(free_port), "health")


def healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=3) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def test_a_disk_that_becomes_full_stops_the_worker_with_one_line(disk: Disk, deployment: Deployment) -> None:
    deployment.publish()
    worker = answer(deployment, FIRST)
    disk.fill()
    deployment.send(SECOND)
    assert_stopped_with_one_line(worker, "No space left on device", "make room on the disk")
    again = deployment.start()
    assert_stopped_with_one_line(again, "No space left on device")
    disk.empty()
    deployment.start()
    assert_undisturbed(deployment, duplicates_allowed=True)


def test_a_disk_that_becomes_read_only_stops_the_worker_with_one_line(disk: Disk, deployment: Deployment) -> None:
    deployment.publish()
    worker = answer(deployment, FIRST)
    disk.make_read_only()
    deployment.send(SECOND)
    assert_stopped_with_one_line(worker, "cannot write session states", "NEXTCLICK_DATA_DIR")
    again = deployment.start()
    assert_stopped_with_one_line(again, "NEXTCLICK_DATA_DIR", "cannot be written")
    disk.repair()
    deployment.start()
    assert_undisturbed(deployment, duplicates_allowed=True)


def test_a_write_that_fails_stops_the_worker_with_one_line(deployment: Deployment) -> None:
    deployment.publish()
    worker = answer(deployment, FIRST)
    (log,) = stored_at(deployment)[0].glob("*.log")
    with failing(worker.process.pid, "write", path=log):
        deployment.send(SECOND)
        assert_stopped_with_one_line(worker, "cannot write session states", "Input/output error")
    deployment.start()
    assert_undisturbed(deployment, duplicates_allowed=True)


def test_a_read_that_fails_stops_the_worker_with_one_line(deployment: Deployment) -> None:
    deployment.publish()
    assert answer(deployment, FIRST).stop() == 0
    worker = deployment.start()
    deployment.wait_until(lambda: worker.said.count("model v1 is ready") == 2, "the model")
    with failing(worker.process.pid, "pread64"):
        deployment.send(SECOND)
        assert_stopped_with_one_line(worker, "session states", "Input/output error")
    deployment.start()
    assert_undisturbed(deployment, duplicates_allowed=True)


def test_a_disk_that_cannot_sync_stops_the_worker_with_one_line(deployment: Deployment) -> None:
    deployment.publish()
    answer(deployment, FIRST).kill()
    worker = deployment.start()
    with failing(worker.process.pid, "fsync,fdatasync"):
        deployment.send(SECOND)
        assert_stopped_with_one_line(worker, "session states", "Input/output error")
    deployment.start()
    assert_undisturbed(deployment, duplicates_allowed=True)
