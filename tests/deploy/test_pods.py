"""Each command line of manifests and compose file does its work against a real Kafka and an S3 server.

The processes have the variables of their container and the disks of their pod; everything else is read-only to them.
"""

import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from schemas.settings import PREFIX, Settings
from tests.deploy.deployment_files import ROOT, containers, image_environment, own_services, settings_env
from tests.trainer.retraining.shopclicks import retrain_settings, send, shop_clicks
from tests.worker.deployment import Deployment
from trainer.retraining.run import retrain

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("deployments"),
    pytest.mark.usefixtures("compiled_kernel", "compiled_scorer"),
]

READ_ONLY = """
awk '{ print $5 }' /proc/self/mountinfo | grep -v -e '^/proc' -e '^/sys' -e '^/dev' | sort -r > "$0/mounts"
for disk in data tmp; do mount --bind "$0/$disk" "$0/$disk"; done
while read mount; do mount -o remount,bind,ro "$mount"; done < "$0/mounts"
cd "$0/data" && exec "$@"
"""
"""Mounts all but the two disks in $0 read-only, for one process and its children, and becomes "$@"."""


@cache
def read_only() -> bool:
    """Whether a process can be given a read-only root file system here."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        return False
    return subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode == 0


class Pod:
    """One container with its own disks, in the place of `/data` and `/tmp`."""

    def __init__(self, folder: Path, command: list[str], environment: dict[str, str], given: dict[str, str]) -> None:
        self.folder = folder
        for disk in ("data", "tmp"):
            (folder / disk).mkdir(parents=True)
        shutil.copytree(os.environ["NUMBA_CACHE_DIR"], folder / "data" / "numba")  # compiling takes a minute
        self.environment = {name: self._mapped(value) for name, value in environment.items()} | given
        self.log = folder / "log"
        self.process = self._start(command)

    def _mapped(self, value: str) -> str:
        for disk in ("/data", "/tmp"):
            if value == disk or value.startswith(f"{disk}/"):
                return f"{self.folder}{value}"
        return value

    def _start(self, command: list[str]) -> "subprocess.Popen[bytes]":
        program, *arguments = [self._mapped(word) for word in command]
        found = {"nextclick": ["-m", "nextclick"], "faust": ["-m", "faust"]}[program]
        line = [sys.executable, "-P", *found, *arguments]
        if read_only():
            line = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", READ_ONLY, str(self.folder), *line]
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        with self.log.open("wb") as log:
            return subprocess.Popen(
                line,
                env={**inherited, "PYTHONPATH": str(ROOT), "TMPDIR": str(self.folder / "tmp"), **self.environment},
                cwd=self.folder / "data",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def said(self) -> str:
        return self.log.read_text()

    def wait(self, seconds: float = 120) -> int:
        return self.process.wait(seconds)

    def wait_until(self, condition: Callable[[], Any], what: str, seconds: float = 90) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, self.said
            assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}\n{self.said}"
            time.sleep(0.1)

    def probe(self, about: dict[str, Any]) -> bool:
        """Whether a probe of the manifest succeeds."""
        if "exec" in about:
            command = [word.replace("/tmp/", f"{self.folder}/tmp/") for word in about["exec"]["command"]]
            return subprocess.run(command, check=False).returncode == 0
        port = self.environment["NEXTCLICK_WEB_PORT"]
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}{about['httpGet']['path']}") as answer:
            return bool(answer.status == 200)
        return False

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


class Cluster:
    """Starts containers against the Kafka and the bucket of one test."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings, self.folder = settings, folder
        self.pods: list[Pod] = []

    def start(self, command: list[str], own: dict[str, str], **extra: str) -> Pod:
        given = {
            f"{PREFIX}{field.upper()}": str(getattr(self.settings, field))
            for field in (
                *("broker", "app_id", "partitions", "replication", "models_uri", "archive_uri"),
                *("clicks_topic", "recommendations_topic", "models_topic", "rejected_topic"),
            )
        }
        environment = {**image_environment(), **settings_env(), **own}
        environment.pop("PATH")
        pod = Pod(self.folder / f"pod-{len(self.pods)}", command, environment, given | extra)
        self.pods.append(pod)
        return pod

    def container(self, name: str, **extra: str) -> Pod:
        """One of the manifests."""
        about = containers()[name]
        own = {entry["name"]: entry.get("value", "nextclick-worker-0") for entry in about.get("env", [])}
        return self.start(about["command"], own, **extra)

    def service(self, name: str, **extra: str) -> Pod:
        """One of the compose file."""
        about = own_services()[name]
        own = {key: str(value) for key, value in about["environment"].items() if value is not None}
        return self.start(about["command"], own, **extra)


@pytest.fixture
def cluster(bare_settings: Settings, s3: str, tmp_path: Path) -> Iterator[Cluster]:
    update = {"models_uri": f"{s3}/models", "archive_uri": f"{s3}/archive", "archive_interval": "1s"}
    cluster = Cluster(bare_settings.model_copy(update=update), tmp_path)
    yield cluster
    for pod in cluster.pods:
        pod.close()


def test_the_pods_of_the_manifests_do_their_work(cluster: Cluster, free_port: int, tmp_path: Path) -> None:
    assert (topics := cluster.container("topics")).wait() == 0, topics.said
    worker = cluster.container("worker", NEXTCLICK_WEB_PORT=str(free_port))
    archive = cluster.container("archive", NEXTCLICK_ARCHIVE_INTERVAL="1s")
    clicks = shop_clicks(2400)
    send(cluster.settings, clicks)

    settings = retrain_settings(cluster.settings, tmp_path, archive_uri=cluster.settings.archive_uri)
    options = {"NEXTCLICK_RETRAIN_CONFIG": str(settings.retrain_config), "NEXTCLICK_RETRAIN_HOLDOUT": "500"}
    first = cluster.container("retrain", **options)
    assert first.wait() == 0, first.said
    assert "published" in first.said
    kept = cluster.container("retrain", **options, NEXTCLICK_RETRAIN_MARGIN="0.9")
    assert kept.wait() == 0, kept.said
    assert "kept" in kept.said
    assert (watch := cluster.container("watch")).wait() == 0, watch.said

    probes = containers()["worker"]
    for name in ("startupProbe", "livenessProbe", "readinessProbe"):
        worker.wait_until(lambda name=name: worker.probe(probes[name]), name)
    worker.wait_until(lambda: "is ready" in worker.said, "the model")
    Deployment(settings, tmp_path / "deployment").wait_for_answers(len(clicks))
    for name in ("startupProbe", "livenessProbe"):
        archive.wait_until(lambda name=name: archive.probe(containers()["archive"][name]), name)
    archive.wait_until(lambda: f"archived so far {len(clicks):,} clicks" in archive.said, "the archive")
    os.utime(archive.folder / "tmp" / "heartbeat", (0, time.time() - 300))
    assert not archive.probe(containers()["archive"]["livenessProbe"])

    for pod in (worker, archive):
        pod.process.terminate()
        assert pod.wait() == 0, pod.said
    if not read_only():
        pytest.skip("all pods did their work, but no file system can be made read-only here: not root, or no unshare")
    assert all((pod.folder / "mounts").read_text() for pod in cluster.pods)


@pytest.mark.timeout(600)
def test_the_refresh_pod_refreshes_a_model_with_neighbours(cluster: Cluster, tmp_path: Path) -> None:
    assert cluster.container("topics").wait() == 0
    clicks = shop_clicks(2400)
    send(cluster.settings, clicks[:-500])
    config = tmp_path / "stan.toml"
    config.write_text('family = "stan"\n')
    settings = cluster.settings.model_copy(update={"retrain_config": config, "retrain_holdout": 500})
    assert retrain(settings).outcome == "published"

    def run(name: str) -> str:
        pod = cluster.container(name, NEXTCLICK_RETRAIN_CONFIG=str(config))
        assert pod.wait() == 0, pod.said
        return pod.said

    send(cluster.settings, clicks[-500:])
    assert "refreshed: " in run("refresh")
    assert "nothing new" in run("refresh"), "no failure of the job"
    assert "  serves" in run("gc")


def test_the_services_of_the_compose_file_do_their_work(cluster: Cluster, free_port: int) -> None:
    assert (topics := cluster.service("topics")).wait() == 0, topics.said
    worker = cluster.service("worker-1", NEXTCLICK_WEB_PORT=str(free_port))
    archive, schedule = cluster.service("archive"), cluster.service("schedule")
    refresh = cluster.service("refresh")
    worker.wait_until(lambda: worker.probe({"httpGet": {"path": "/health"}}), "health")
    archive.wait_until(lambda: "archiving topic" in archive.said, "the archive")
    schedule.wait_until(lambda: "next retraining at" in schedule.said, "the schedule")
    refresh.wait_until(lambda: "next refresh at" in refresh.said, "the schedule of refreshes")
    for name, pod in (("schedule", schedule), ("refresh", refresh)):
        check = own_services()[name]["healthcheck"]["test"]
        pod.wait_until(lambda pod=pod, check=check: pod.probe({"exec": {"command": check[1:]}}), f"heartbeat of {name}")
    assert (shell := cluster.service("shell")).wait() == 0, shell.said
    for pod in (worker, archive, schedule, refresh):
        pod.process.terminate()
        assert pod.wait() == 0, pod.said


def test_fewer_partitions_than_there_are_end_the_topics_job_with_a_line(cluster: Cluster) -> None:
    assert cluster.container("topics").wait() == 0
    cluster.settings = cluster.settings.model_copy(update={"partitions": 2})
    refused = cluster.container("topics")
    assert refused.wait() == 1
    assert "it has 4 partitions" in refused.said
