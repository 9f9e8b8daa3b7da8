"""The schedule: it waits for the next time, runs a retraining, and says how it ended."""

import os
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from schemas.errors import SettingsError
from schemas.settings import Settings
from tests.command_line import Command, CommandLine
from trainer.retraining import schedule as module
from trainer.retraining.schedule import run_on_schedule


@pytest.mark.parametrize(
    ("code", "line"),
    [
        (0, "retraining ended: published"),
        (3, "retraining ended: kept the serving model"),
        (143, "retraining ended: stopped; the next run continues"),
        (1, "retraining ended: failed (exit code 1); the serving model is left"),
        (2, "retraining ended: failed (exit code 2); the serving model is left"),
        (-9, "retraining ended: failed (exit code -9); the serving model is left"),
    ],
)
def test_the_end_of_each_retraining_is_said(code: int, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stop, said = threading.Event(), list[str]()

    def run(*_: object) -> int:
        stop.set()
        return code

    monkeypatch.setattr(module, "next_run", lambda _cron, after: after)
    monkeypatch.setattr(module, "_run", run)
    run_on_schedule("* * * * *", stop, said.append)
    assert said[1:] == [line]
    assert said[0].startswith(f"next retraining at {datetime.now(UTC):%Y-%m-%d}")


def test_a_schedule_that_is_stopped_ends_its_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    stop, looks = threading.Event(), list[int]()

    def look() -> None:
        looks.append(1)
        stop.set()

    monkeypatch.setattr(module, "next_run", lambda _cron, after: after + timedelta(hours=1))
    monkeypatch.setattr(module, "_run", lambda *_: pytest.fail("ran"))
    run_on_schedule("0 * * * *", stop, print, look)
    assert looks == [1]


class Runs:
    """A clock that only waits and runs move, and what ran when, in minutes since it began."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, minutes: dict[str, list[int]], until: int) -> None:
        """`minutes`: by kind, how long each run takes; the last one repeats."""
        self.now = self.begin = datetime(2026, 11, 24, 2, 58, tzinfo=UTC)
        self.ran: list[tuple[str, int]] = []
        self.said: list[str] = []
        self._minutes, self._until = minutes, until
        self._stop = threading.Event()
        clock = type("Clock", (datetime,), {"now": staticmethod(lambda _zone: self.now)})
        monkeypatch.setattr(module, "datetime", clock)
        monkeypatch.setattr(module, "_run", self._run)

    def schedule(self, cron: str | None, refresh: str | None) -> None:
        stop = SimpleNamespace(is_set=self._stop.is_set, wait=self._wait)
        run_on_schedule(cron, stop, self.said.append, lambda: None, refresh)  # type: ignore[arg-type]

    def _wait(self, seconds: float) -> bool:
        self._pass(timedelta(seconds=seconds))
        return self._stop.is_set()

    def _run(self, _stop: object, _look: object, *options: str) -> int:
        kind = "refresh" if options == ("--refresh",) else "retrain"
        self.ran.append((kind, round((self.now - self.begin).total_seconds() / 60)))
        lengths = self._minutes[kind]
        self._pass(timedelta(minutes=lengths.pop(0) if len(lengths) > 1 else lengths[0]))
        return 0

    def _pass(self, time: timedelta) -> None:
        self.now += time
        if self.now - self.begin > timedelta(minutes=self._until):
            self._stop.set()


def test_a_refresh_that_is_due_during_a_retraining_follows_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = Runs(monkeypatch, {"retrain": [17], "refresh": [0]}, until=30)
    runs.schedule("0 3 * * *", "*/5 * * * *")
    assert runs.ran == [("refresh", 2), ("retrain", 2), ("refresh", 19), ("refresh", 22), ("refresh", 27)]
    assert runs.said[:4] == [
        "next refresh at 2026-11-24 03:00 UTC",
        "next retraining at 2026-11-24 03:00 UTC",
        "refresh ended: refreshed",
        "next refresh at 2026-11-24 03:05 UTC",
    ]
    assert "retraining ended: published" in runs.said


def test_a_retraining_that_is_due_during_a_refresh_is_not_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = Runs(monkeypatch, {"retrain": [1], "refresh": [7]}, until=20)
    runs.schedule("4 3 * * *", "*/5 * * * *")
    assert runs.ran == [("refresh", 2), ("retrain", 9), ("refresh", 12), ("refresh", 22)][: len(runs.ran)]
    assert len(runs.ran) >= 3


def test_refreshes_alone_are_a_schedule(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = Runs(monkeypatch, {"refresh": [0]}, until=10)
    runs.schedule(None, "*/5 * * * *")
    assert runs.ran == [("refresh", 2), ("refresh", 7)]


def test_what_is_no_cron_expression_of_refreshes_is_said_before_the_start() -> None:
    with pytest.raises(SettingsError, match=r"--refresh 'often' is no cron expression: five fields, such as '\*/5"):
        run_on_schedule("0 3 * * *", threading.Event(), print, refresh="often")


@pytest.mark.parametrize(
    ("cron", "line"),
    [
        ("*/5 * * * * *", r"is no cron expression: five fields, such as '0 3 \* \* \*'"),
        ("0 3 * * * * *", "is no cron expression: five fields"),
        ("0 0 30 2 *", r"names a date that never comes: give one such as '0 3 \* \* \*'"),
    ],
)
def test_what_would_run_at_other_times_than_meant_or_never_is_refused(
    cron: str, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_wait_for_next", lambda *_: None)
    with pytest.raises(SettingsError, match=line) as failure:
        run_on_schedule(cron, threading.Event(), print)
    assert str(failure.value).startswith(f"--cron {cron!r}")
    run_on_schedule("@daily", threading.Event(), print)


def test_a_schedule_of_nothing_is_wrong_usage(nextclick: Command) -> None:
    done = nextclick("schedule")
    assert done.code == 2
    assert "give --cron, --refresh or both" in done.stderr


class Process:
    """A retraining that runs for some looks, and ends when it is asked to."""

    def __init__(self, looks: int, stubborn: bool = False) -> None:
        self.looks, self.stubborn = looks, stubborn
        self.signals: list[str] = []
        self.returncode = 0

    def poll(self) -> int | None:
        self.looks -= 1
        return None if self.looks > 0 and not self.signals else 0

    def terminate(self) -> None:
        self.signals.append("terminate")

    def kill(self) -> None:
        self.signals.append("kill")

    def wait(self, seconds: float | None = None) -> None:
        if self.stubborn and seconds is not None:
            raise module.subprocess.TimeoutExpired("nextclick", seconds)


@pytest.mark.parametrize(("stubborn", "signals"), [(False, ["terminate"]), (True, ["terminate", "kill"])])
def test_a_stop_ends_the_retraining(stubborn: bool, signals: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    process = Process(100, stubborn)
    monkeypatch.setattr(module.subprocess, "Popen", lambda _command, **_options: process)
    stop = threading.Event()
    stop.set()
    assert module._run(stop, lambda: None) == 0
    assert process.signals == signals


class Turns:
    """The calls of a schedule whose clock only its waits move, in seconds since it began."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, until: float) -> None:
        self.now, self.until = 0.0, until
        self.looks, self.beats = list[float](), list[float]()
        self.look_takes = 0.0
        begin = datetime(2026, 11, 24, tzinfo=UTC)
        clock = {"now": staticmethod(lambda _zone: begin + timedelta(seconds=self.now))}
        monkeypatch.setattr(module, "datetime", type("Clock", (datetime,), clock))
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: self.now))
        monkeypatch.setattr(module.subprocess, "Popen", lambda _command, **_options: Process(10**6))

    def run(self, cron: str) -> None:
        stop = SimpleNamespace(is_set=lambda: self.now > self.until, wait=self._wait)
        beat = lambda: self.beats.append(self.now)  # noqa: E731
        run_on_schedule(cron, stop, print, self._look, beat=beat)  # type: ignore[arg-type]

    def _wait(self, seconds: float) -> bool:
        self.now += seconds
        return self.now > self.until

    def _look(self) -> None:
        self.looks.append(self.now)
        self.now += self.look_takes


@pytest.mark.parametrize("cron", ["0 3 * * *", "* * * * *"], ids=["between retrainings", "during one"])
def test_live_evidence_is_looked_at_once_a_minute_and_signs_of_life_come_every_ten_seconds(
    cron: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = Turns(monkeypatch, until=600)
    turns.run(cron)
    assert turns.looks == list(range(0, 601, 60))
    assert turns.beats == list(range(0, 601, 10))


def test_a_look_that_hangs_stops_the_signs_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    turns = Turns(monkeypatch, until=3600)
    turns.look_takes = 5000
    turns.run("0 3 * * *")
    assert turns.beats == [0]


def test_the_command_sets_the_heartbeat_file_also_while_no_broker_answers(
    command_line: CommandLine, free_port: int, tmp_path: Path
) -> None:
    heartbeat = tmp_path / "heartbeat"
    settings = Settings(_env_file=None, broker=f"127.0.0.1:{free_port}", data_dir=tmp_path / "data")
    process = command_line.start("schedule", "--cron", "0 3 * * *", "--heartbeat", str(heartbeat), settings=settings)
    deadline = time.monotonic() + 60
    while not heartbeat.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "no heartbeat"
        time.sleep(0.1)
    os.utime(heartbeat, (0, 0))
    while heartbeat.stat().st_mtime == 0:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "it does not go on"
        time.sleep(0.1)
