"""The demo's child processes: each with a log of its own, none of them outliving the demo."""

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
    """A process of the demo ended early, or did not do its part in time."""


class Child:
    """One running child process.

    Args:
        name: for messages, and of the log file.
        arguments: of this Python.
        settings: handed over as environment variables; those of the demo's own surroundings are not.
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
        """None while it runs."""
        return self._process.poll()

    @property
    def last_line(self) -> str:
        """The last line of its log."""
        lines = self.log.read_text(errors="replace").replace("\r", "\n").strip().splitlines()
        return lines[-1].strip() if lines else "it wrote no log"

    def lower_priority(self) -> None:
        """Leave the processor to the other processes where they want it."""
        os.setpriority(os.PRIO_PROCESS, self._process.pid, 5)

    def check(self) -> None:
        """Complain where it has failed.

        Raises:
            DemoError: with the last line of its log.
        """
        if self.exit_code:
            raise DemoError(f"the {self.name} ended with exit code {self.exit_code}: {self.last_line}")

    def stop(self, at_once: bool) -> None:
        """End it: in order, or as a crash would."""
        if at_once:
            kill_child(self._process)
        else:
            stop_child(self._process, STOP_SECONDS)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """A few seconds of tidying up that another ctrl-C does not break off."""
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
    return {**ours, **given, "TMPDIR": str(directory)}  # torch leaves a directory there
