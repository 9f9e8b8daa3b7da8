"""`nextclick …` as a process of its own, against a given deployment."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.settings import PREFIX, Settings


class CommandLine:
    """Runs commands in a directory of their own, with nothing but the given settings in the environment."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._started: list[subprocess.Popen[str]] = []

    def start(self, *arguments: str, settings: Settings | None = None) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", "from nextclick.cli import main; main()", *arguments],
            cwd=self.directory,
            env=_environment(settings),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._started.append(process)
        return process

    def close(self) -> None:
        """End what still runs, and close the pipes."""
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


def _environment(settings: Settings | None) -> dict[str, str]:
    """The environment that makes a process use these settings."""
    names = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    if settings is not None:
        for field in ("broker", "app_id", "partitions", "replication", "data_dir", "models_uri"):
            names[PREFIX + field.upper()] = str(getattr(settings, field))
        for field in ("clicks_topic", "recommendations_topic", "models_topic", "rejected_topic"):
            names[PREFIX + field.upper()] = getattr(settings, field)
    return {**names, "COLUMNS": "200", "PYTHONUNBUFFERED": "1"}
