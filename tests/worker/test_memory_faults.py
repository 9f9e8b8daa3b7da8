"""A worker that gets no more memory: it ends, and nothing is lost or differs."""

import re
import resource
import signal
from pathlib import Path

import pytest

from tests.worker.deployment import Deployment, WorkerProcess, clicks_of
from tests.worker.test_delivery import assert_undisturbed

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("disk"),
    pytest.mark.usefixtures("compiled_scorer"),
]


def leave_bytes(worker: WorkerProcess, spare: int) -> None:
    """Limit a running process to the address space that it has, and some bytes more."""
    status = Path(f"/proc/{worker.process.pid}/status").read_text()
    (size,) = re.findall(r"VmSize:\s+(\d+) kB", status)
    resource.prlimit(worker.process.pid, resource.RLIMIT_AS, (int(size) * 1024 + spare, resource.RLIM_INFINITY))


@pytest.mark.parametrize("megabytes", [0, 8])
def test_a_worker_without_memory_ends_with_one_line_and_nothing_is_lost(deployment: Deployment, megabytes: int) -> None:
    deployment.publish(hidden=256)
    clicks = clicks_of(10_000, 3)
    worker = deployment.start(NEXTCLICK_MAX_BATCH="65536")
    deployment.send(clicks[:1000])
    deployment.wait_until_all_answered()
    leave_bytes(worker, megabytes << 20)
    deployment.send(clicks[1000:])
    deployment.wait_until(lambda: not worker.alive, "the end of the worker", 120)
    # RocksDB is C++: it aborts the process when it cannot allocate, and there is nobody to say more.
    assert worker.process.returncode in {1, -signal.SIGABRT}, worker.said[-3000:]
    if worker.process.returncode == 1:
        assert "no memory is left" in worker.said.splitlines()[-1]
        assert "NEXTCLICK_MAX_BATCH" in worker.said.splitlines()[-1]
    deployment.start()
    assert_undisturbed(deployment, duplicates_allowed=True)
