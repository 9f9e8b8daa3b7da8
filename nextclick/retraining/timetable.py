"""Retraining by a cron expression, for people without a CronJob.

Each run is a process of its own: what it leaks or breaks ends with it.
"""

import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime

from croniter import croniter

from schemas.errors import SettingsError

STOP_SECONDS = 20.0


def follow(cron: str, stop: threading.Event, say: Callable[[str], None]) -> None:
    """Run `nextclick retrain` whenever the expression (UTC) says so, until `stop` is set.

    A run that is still under way when the next is due makes that one fall out.

    Raises:
        SettingsError: the expression is none.
    """
    if not croniter.is_valid(cron):
        raise SettingsError(
            f"--cron {cron!r} is no cron expression: five fields, such as '0 3 * * *' (daily at 3, UTC)"
        )
    while not stop.is_set():
        due = next_run(cron, datetime.now(UTC))
        say(f"next retraining at {due:%Y-%m-%d %H:%M} UTC")
        while (left := (due - datetime.now(UTC)).total_seconds()) > 0:
            if stop.wait(min(left, 60)):  # in pieces, for clocks are set
                return
        say(f"retraining ended: {_meaning(_run(stop))}")


def next_run(cron: str, after: datetime) -> datetime:
    """When the expression is due next."""
    return croniter(cron, after).get_next(datetime)  # type: ignore[no-any-return]


def _run(stop: threading.Event) -> int:
    process = subprocess.Popen([sys.executable, "-m", "nextclick", "retrain"], stdin=subprocess.DEVNULL)
    while process.poll() is None:
        if stop.wait(0.5):
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    return process.returncode


def _meaning(code: int) -> str:
    return {0: "published", 3: "kept the serving model"}.get(
        code, f"failed (exit code {code}); the serving model is left"
    )
