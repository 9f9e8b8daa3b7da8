"""The demo's child processes: each has its own log and ends with the demo."""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from nextclick.child_process import kill_child, start_child, stop_child
from schemas.errors import NextclickError
from schemas.settings import PREFIX, Settings

STOP_SECONDS = 15.0


class DemoError(NextclickError):
    """A process of the demo ended early, or did not finish its step in time."""


class Child:
    """One running child process.

    Args:
        name: used in messages and as the name of the log file.
        arguments: arguments of the Python interpreter.
        settings: passed as environment variables; settings in the demo's own environment are not passed on.
        directory: where it runs and where its log is written.
    """

    def __init__(self, name: str, arguments: list[str], settings: Settings, directory: Path) -> None:
        self.name = name
        self.log = directory / f"{name}.log"
        with self.log.open("wb") as log:
            command = [sys.executable, *arguments]
            self._process = start_child(command, directory, log, _environment(settings, directory))

    @property
    def exit_code(self) -> int | None:
        """Its exit code; None while it runs."""
        return self._process.poll()

    @property
    def last_line(self) -> str:
        """The last line of its log."""
        lines = self.log.read_text(errors="replace").replace("\r", "\n").strip().splitlines()
        return lines[-1].strip() if lines else "it wrote no log"

    def lower_priority(self) -> None:
        """Run at a lower CPU priority than the other processes."""
        os.setpriority(os.PRIO_PROCESS, self._process.pid, 5)

    def check(self) -> None:
        """Raise if it has failed.

        Raises:
            DemoError: it ended with an exit code other than 0; the message has the last line of its log.
        """
        if self.exit_code:
            raise DemoError(f"the {self.name} ended with exit code {self.exit_code}: {self.last_line}")

    def stop(self, at_once: bool) -> None:
        """End it: cleanly, or as a crash would."""
        if at_once:
            kill_child(self._process)
        else:
            stop_child(self._process, STOP_SECONDS)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Ignore ctrl-C during a clean-up of a few seconds."""
    names = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {name: signal.signal(name, signal.SIG_IGN) for name in names}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


def _environment(settings: Settings, directory: Path) -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if not name.upper().startswith(PREFIX)}
    given = {PREFIX + name.upper(): str(getattr(settings, name)) for name in settings.model_fields_set}
    return {**ours, **given, "TMPDIR": str(directory)}  # torch creates a directory there
