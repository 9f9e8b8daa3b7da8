"""`nextclick …` in this process (`nextclick`), or as a separate process against a deployment (`command_line`)."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from nextclick.cli import main
from schemas.settings import PREFIX, Settings


class Done(NamedTuple):
    code: int
    stdout: str
    stderr: str


COLUMNS = "200"
"""Width of the terminal that commands in their own process see."""

Command = Callable[..., Done]


@pytest.fixture
def nextclick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs the command line in this process, in the test's own directory."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["nextclick", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        return Done(int(end.value.code or 0), *capsys.readouterr())

    return run


class CommandLine:
    """Runs commands in their own directory, with only the given settings in the environment."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._started: list[subprocess.Popen[str]] = []

    def start(self, *arguments: str, settings: Settings | None = None) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", "from nextclick.cli import main; main()", *arguments],
            cwd=self.directory,
            env=environment_of(settings),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._started.append(process)
        return process

    def close(self) -> None:
        """Kill processes that still run, and close the pipes."""
        for process in self._started:
            process.kill()
            with process:  # waits
                pass

    def run(self, *arguments: str, settings: Settings | None = None) -> tuple[int, str, str]:
        """Exit code, standard output, standard error."""
        process = self.start(*arguments, settings=settings)
        try:
            output, errors = process.communicate(timeout=60)
        finally:
            process.kill()
        return process.returncode, output, errors


@pytest.fixture
def command_line(tmp_path: Path) -> Iterator[CommandLine]:
    command_line = CommandLine(tmp_path)
    yield command_line
    command_line.close()


def environment_of(settings: Settings | None) -> dict[str, str]:
    """The environment that makes a process use these settings."""
    names = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    if settings is not None:
        for field in ("broker", "app_id", "partitions", "replication", "data_dir", "models_uri"):
            names[PREFIX + field.upper()] = str(getattr(settings, field))
        for field in ("clicks_topic", "recommendations_topic", "models_topic", "rejected_topic", "archive_uri"):
            names[PREFIX + field.upper()] = getattr(settings, field)
        for field in ("click_fields", "click_time", "click_where", "log_format"):
            names[PREFIX + field.upper()] = getattr(settings, field)
    return {**names, "COLUMNS": COLUMNS, "PYTHONUNBUFFERED": "1"}
