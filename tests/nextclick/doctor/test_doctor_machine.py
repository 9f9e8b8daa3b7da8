"""`nextclick doctor` about this machine: clock, disk, device, and a registry that cannot be written."""

import asyncio
import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from aiokafka.errors import ClusterAuthorizationFailedError

from messaging.clients import connected, new_producer
from nextclick.doctor import clock, machine
from nextclick.doctor.finding import Level
from nextclick.doctor.machine import device, disk
from nextclick.doctor.models import registry
from nextclick.doctor.roles import Role
from schemas.settings import PREFIX, Settings
from tests.nextclick.doctor.examined import changed, findings, the
from tests.worker.disk import Disk
from tests.worker.disk import disk as own_disk

small_disk = own_disk

FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)

HOURS_2 = 7200


@pytest.mark.skipif(FAKETIME is None, reason="needs libfaketimeMT.so.1 (Debian: faketime)")
@pytest.mark.parametrize(("wrong_by", "side"), [("+2h", "ahead of"), ("-2h", "behind")])
def test_a_clock_two_hours_off_is_named(kafka_settings: Settings, tmp_path: Path, wrong_by: str, side: str) -> None:
    names = {PREFIX + name.upper(): str(getattr(kafka_settings, name)) for name in kafka_settings.model_fields_set}
    environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    faked = {"LD_PRELOAD": str(FAKETIME), "FAKETIME": wrong_by, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "nextclick", "doctor", "--json"],
        env=environment | names | faked, cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = {finding["check"]: finding for finding in map(json.loads, done.stdout.splitlines())}
    assert done.returncode == 1, done.stderr
    assert found["clock"]["level"] == "error"
    assert f"this machine's clock is 2.00 h {side} the cluster's" in found["clock"]["meaning"]
    assert "NTP" in found["clock"]["way_out"]


async def _not_told(*_: object) -> float:
    raise ClusterAuthorizationFailedError


class Shifted:
    """This machine's clock, wrong by some seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def time(self) -> float:
        return time.time() + self._seconds


@pytest.mark.parametrize(("wrong_by", "level"), [(0, "not checked"), (HOURS_2, "not checked"), (-HOURS_2, "error")])
def test_an_old_record_tells_only_that_a_clock_is_behind(
    kafka_settings: Settings, monkeypatch: pytest.MonkeyPatch, wrong_by: int, level: str
) -> None:
    async def send() -> None:
        async with connected(new_producer(kafka_settings, "test"), kafka_settings) as producer:
            await producer.send_and_wait(kafka_settings.clicks_topic, b"{}")

    asyncio.run(send())
    monkeypatch.setattr(clock, "ahead_of_controller", _not_told)
    monkeypatch.setattr(clock, "time", Shifted(wrong_by))
    assert the(findings(kafka_settings, Role.PRODUCER), "clock").level == level


def test_a_new_record_tells_the_brokers_time(kafka_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "ahead_of_controller", _not_told)
    monkeypatch.setattr(clock, "time", Shifted(HOURS_2))

    async def meanwhile() -> Level:
        async with connected(new_producer(kafka_settings, "test"), kafka_settings) as producer:
            looking = asyncio.create_task(asyncio.to_thread(findings, kafka_settings, Role.PRODUCER))
            while not looking.done():
                await producer.send_and_wait(kafka_settings.clicks_topic, b"{}", partition=0)
                await asyncio.sleep(0.1)
            return the(await looking, "clock").level

    assert asyncio.run(meanwhile()) is Level.ERROR


@pytest.mark.slow
def test_a_full_disk_and_a_read_only_registry_are_named(small_disk: Disk) -> None:
    settings = Settings(
        _env_file=None,
        data_dir=small_disk.place / "data",
        models_uri=str(small_disk.place / "models"),
        archive_uri=str(small_disk.place / "archive"),
    )
    (small_disk.place / "models").mkdir()
    small_disk.fill()
    full = [*disk(settings, [Role.WORKER]), *registry(settings, list(Role))]
    assert [finding.level for finding in full] == [Level.ERROR, Level.ERROR]
    assert all("No space left on device" in finding.meaning for finding in full)
    assert all("free some space" in finding.way_out for finding in full)
    small_disk.empty()
    (nearly,) = disk(settings, [Role.WORKER])
    assert (nearly.level, "is full" in nearly.meaning) == (Level.ERROR, True)
    small_disk.make_read_only()
    (read_only,) = registry(settings, list(Role))
    assert read_only.level is Level.ERROR
    assert "NEXTCLICK_MODELS_URI=" in read_only.meaning
    assert "Read-only file system" in read_only.meaning
    assert "make it writable" in read_only.way_out
    assert [finding.level for finding in registry(settings, [Role.WORKER])] == [Level.OK]


def test_the_checks_leave_nothing_behind(bare_settings: Settings, free_port: int, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    assert the(findings(changed(bare_settings, broker=f"127.0.0.1:{free_port}")), "registry").level is Level.OK
    assert sorted(tmp_path.rglob("*")) == before


def test_a_gpu_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_gpus", lambda: 1)
    (missing,) = device(Settings(_env_file=None, device="cuda:1"), [Role.WORKER])
    assert missing.level is Level.ERROR
    assert "NEXTCLICK_DEVICE=cuda:1, and this machine has 1 GPUs" in missing.meaning
    assert device(Settings(_env_file=None, device="cuda:1"), [Role.PRODUCER]) == []
    assert device(Settings(_env_file=None), [Role.WORKER])[0].level is Level.OK


def test_a_folder_that_may_not_be_looked_into_hides_no_other_finding(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = Settings(_env_file=None, data_dir=tmp_path / "locked" / "data", models_uri=str(tmp_path / "models"))
    exists = Path.exists

    def exists_for_another_user(path: Path) -> bool:
        if path.parent.name == "locked":
            raise PermissionError(errno.EACCES, "Permission denied")
        return exists(path)

    monkeypatch.setattr(Path, "exists", exists_for_another_user)
    locked, models = disk(settings, [Role.WORKER, Role.TRAINER])
    assert (locked.level, models.level) == (Level.ERROR, Level.OK)
    assert locked.meaning == f"NEXTCLICK_DATA_DIR={tmp_path / 'locked' / 'data'} cannot be written: Permission denied"
