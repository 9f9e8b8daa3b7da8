"""`nextclick worker` is `faust -A worker worker`, whatever lies in the folder."""

import subprocess
import sys
from pathlib import Path

import pytest

from schemas.settings import Settings
from tests.command_line import environment_of
from tests.worker.deployment import Deployment

NEXTCLICK = [sys.executable, "-P", "-c", "from nextclick.start import main; main()"]
"""What the installed command does: its own folder comes first, not the current one."""

HIDING = ("worker", "schemas", "messaging", "clicklog", "nextclick", "faust", "torch", "aiokafka", "logging")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with modules of the names that the worker imports."""
    folder = tmp_path / "project"
    for name in HIDING[::2]:
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text("raise SystemExit('hidden')")
    for name in HIDING[1::2]:
        (folder / f"{name}.py").write_text("raise SystemExit('hidden')")
    return folder


def test_clicks_are_answered_in_a_folder_with_other_modules_of_these_names(
    kafka_settings: Settings, tmp_path: Path, folder: Path
) -> None:
    deployment = Deployment(kafka_settings, tmp_path)
    deployment.send([("s", 1, 1_700_000_000_000)])
    with (tmp_path / "log").open("wb") as log:
        worker = subprocess.Popen(
            [*NEXTCLICK, "worker", "-l", "info", "--without-web"],
            cwd=folder,
            env=environment_of(kafka_settings),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        deployment.wait_until(lambda: deployment.outcome().missing == [] or worker.poll() is not None, "an answer")
        assert worker.poll() is None, (tmp_path / "log").read_text()
        worker.terminate()
        assert worker.wait(60) == 0
    finally:
        worker.kill()
        worker.wait()


def test_options_and_mistakes_are_fausts(folder: Path) -> None:
    done = subprocess.run([*NEXTCLICK, "worker", "--no-such"], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 2
    assert "No such option: --no-such" in done.stderr
