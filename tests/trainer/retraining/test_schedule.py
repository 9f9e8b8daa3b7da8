"""The schedule: it waits for the next time, runs a retraining, and says how it ended."""

import itertools
import threading
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

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


def test_the_log_is_looked_at_once_a_minute_during_a_retraining(monkeypatch: pytest.MonkeyPatch) -> None:
    now, looks = [1000.0], list[float]()
    process = Process(300)
    monkeypatch.setattr(module.subprocess, "Popen", lambda _command, **_options: process)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))

    def wait(_seconds: float) -> bool:
        now[0] += 1
        return False

    assert module._run(SimpleNamespace(wait=wait), lambda: looks.append(now[0])) == 0  # type: ignore[arg-type]
    assert [later - earlier for earlier, later in itertools.pairwise(looks)] == [61.0] * 3
