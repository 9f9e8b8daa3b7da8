"""Retraining and refreshing by cron expressions, for deployments without CronJobs, and deciding by live evidence in
between.

Each run is a separate process: memory leaks and crashes end with it.
"""

import math
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from croniter import CroniterBadDateError, croniter

from schemas.errors import SettingsError
from trainer.retraining.live_watch import LOOK_SECONDS

STOP_SECONDS = 20.0

SIGN_SECONDS = 10.0
"""Longest time between two signs of life, unless the live evidence takes longer to look at."""

FIELDS = 5
"""Of a cron expression. A sixth one would be seconds: `*/5 * * * * *` is every second of every fifth minute."""


@dataclass
class _Job:
    """A command that runs again and again.

    Attributes:
        name: for people.
        cron: when it runs.
        options: of `nextclick retrain`.
        done: what it means if it ends with exit code 0.
        stopped: what it means if it was stopped.
        due: when it runs next; in the past while another job runs; None: not known yet.
    """

    name: str
    cron: str
    options: tuple[str, ...]
    done: str
    stopped: str
    due: datetime | None = None


def run_on_schedule(
    cron: str | None,
    stop: threading.Event,
    say: Callable[[str], None],
    look: Callable[[], None] = lambda: None,
    refresh: str | None = None,
    beat: Callable[[], None] = lambda: None,
) -> None:
    """Run `nextclick retrain` and `nextclick retrain --refresh` at the times of cron expressions (UTC), until `stop` is
    set.

    They never run at once. A run that is due while the other one runs follows it, once. A run that is due while one of
    the same kind runs is skipped. If both are due, the one that was due first runs first; at the same time the refresh,
    which takes seconds.

    Args:
        cron: expression with five fields, for retrainings; None: none.
        stop: ends the schedule, and a run.
        say: called with a line for people.
        look: called every `LOOK_SECONDS`, between and during runs.
        refresh: the expression for refreshes; None: none.
        beat: called every `SIGN_SECONDS` by the loop, as a sign of life; while `look` hangs, it is not.

    Raises:
        SettingsError: one of them is not a cron expression with five fields, or names no date that ever comes.
    """
    jobs = []
    if refresh is not None:
        _check(refresh, "--refresh", "'*/5 * * * *' (every five minutes)")
        jobs.append(_Job("refresh", refresh, ("--refresh",), "refreshed", "stopped"))
    if cron is not None:
        _check(cron, "--cron", "'0 3 * * *' (daily at 3, UTC)")
        jobs.append(_Job("retraining", cron, (), "published", "stopped; the next run continues"))
    beat, look = _every(SIGN_SECONDS, beat), _every(LOOK_SECONDS, look)

    def turn() -> None:
        beat()
        look()

    while not stop.is_set():
        due = _wait_for_next(jobs, stop, say, turn)
        if due is None:
            return
        due.due = None
        code = _run(stop, turn, *due.options)
        say(f"{due.name} ended: {_meaning(code, due)}")


def _every(seconds: float, act: Callable[[], None]) -> Callable[[], None]:
    """A function that acts, unless it did so less than `seconds` ago."""
    last = -math.inf

    def act_if_due() -> None:
        nonlocal last
        if time.monotonic() - last >= seconds:
            last = time.monotonic()
            act()

    return act_if_due


def _check(cron: str, option: str, example: str) -> None:
    if not croniter.is_valid(cron) or len(croniter.expand(cron)[0]) != FIELDS:
        raise SettingsError(f"{option} {cron!r} is no cron expression: five fields, such as {example}")
    try:
        next_run(cron, datetime.now(UTC))
    except CroniterBadDateError:
        raise SettingsError(f"{option} {cron!r} names a date that never comes: give one such as {example}") from None


def _wait_for_next(
    jobs: list[_Job], stop: threading.Event, say: Callable[[str], None], turn: Callable[[], None]
) -> _Job | None:
    """Wait until a job is due; None if the schedule is stopped before."""
    times = []
    for job in jobs:
        if job.due is None:
            job.due = next_run(job.cron, datetime.now(UTC))
            say(f"next {job.name} at {job.due:%Y-%m-%d %H:%M} UTC")
        times.append(job.due)
    first = min(times)
    while (left := (first - datetime.now(UTC)).total_seconds()) > 0:
        turn()
        if stop.wait(min(left, SIGN_SECONDS)):  # in short waits, because the clock may be set
            return None
    return jobs[times.index(first)]


def next_run(cron: str, after: datetime) -> datetime:
    """The next time of the expression after `after`."""
    return croniter(cron, after).get_next(datetime)  # type: ignore[no-any-return]


def _run(stop: threading.Event, turn: Callable[[], None], *options: str) -> int:
    # -P: no module of the current folder hides ours
    command = [sys.executable, "-P", "-m", "nextclick", "retrain", *options]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    while process.poll() is None:
        turn()
        if stop.wait(0.5):
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    return process.returncode


def _meaning(code: int, job: _Job) -> str:
    return {0: job.done, 3: "kept the serving model", 143: job.stopped}.get(
        code, f"failed (exit code {code}); the serving model is left"
    )
