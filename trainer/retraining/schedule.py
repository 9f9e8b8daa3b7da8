"""Retraining by a cron expression, for deployments without a CronJob, and deciding by live evidence in between.

Each retraining runs in a separate process: memory leaks and crashes end with it.
"""

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

from croniter import croniter

from schemas.errors import SettingsError
from trainer.retraining.live_watch import LOOK_SECONDS

STOP_SECONDS = 20.0


def run_on_schedule(
    cron: str, stop: threading.Event, say: Callable[[str], None], look: Callable[[], None] = lambda: None
) -> None:
    """Run `nextclick retrain` at the times of the cron expression (UTC), until `stop` is set.

    A run that is due while another is still running is skipped.

    Args:
        cron: expression with five fields.
        stop: ends the schedule, and a running retraining.
        say: called with a line for people.
        look: called every `LOOK_SECONDS`, between and during retrainings.

    Raises:
        SettingsError: `cron` is not a cron expression.
    """
    if not croniter.is_valid(cron):
        raise SettingsError(
            f"--cron {cron!r} is no cron expression: five fields, such as '0 3 * * *' (daily at 3, UTC)"
        )
    while not stop.is_set():
        due = next_run(cron, datetime.now(UTC))
        say(f"next retraining at {due:%Y-%m-%d %H:%M} UTC")
        while (left := (due - datetime.now(UTC)).total_seconds()) > 0:
            look()
            if stop.wait(min(left, LOOK_SECONDS)):  # in short waits, because the clock may be set
                return
        say(f"retraining ended: {_meaning(_run(stop, look))}")


def next_run(cron: str, after: datetime) -> datetime:
    """The next time of the expression after `after`."""
    return croniter(cron, after).get_next(datetime)  # type: ignore[no-any-return]


def _run(stop: threading.Event, look: Callable[[], None]) -> int:
    command = [sys.executable, "-P", "-m", "nextclick", "retrain"]  # -P: no module of the current folder hides ours
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    looked = time.monotonic()
    while process.poll() is None:
        if time.monotonic() - looked > LOOK_SECONDS:
            look()
            looked = time.monotonic()
        if stop.wait(0.5):
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    return process.returncode


def _meaning(code: int) -> str:
    return {0: "published", 3: "kept the serving model", 143: "stopped; the next run continues"}.get(
        code, f"failed (exit code {code}); the serving model is left"
    )
