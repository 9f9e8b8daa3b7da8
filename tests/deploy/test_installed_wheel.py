"""The wheel, installed into an environment of its own, works without the checkout."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from schemas.settings import PREFIX, Settings
from tests.deploy.deployment_files import ROOT
from tests.deploy.test_package import PACKAGES

pytestmark = pytest.mark.slow

IMPORT_ALL = """
import importlib, pkgutil, sys
names = sys.argv[1:]
for name in names:
    found = importlib.import_module(name)
    walked = pkgutil.walk_packages(found.__path__, f"{name}.")
    for module in [name, *(one.name for one in walked if not one.name.endswith("__main__"))]:
        print(importlib.import_module(module).__file__)
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder `bin` of an environment with our wheel; the dependencies are those of this environment."""
    if shutil.which("uv") is None:
        pytest.skip("uv is not installed: pip install uv")
    folder = tmp_path_factory.mktemp("installed")
    environment = folder / "environment"
    for line in (
        ["uv", "build", "--wheel", "--no-build-isolation", "--python", sys.executable, "--out-dir", str(folder)],
        ["uv", "venv", "--quiet", "--python", sys.executable, str(environment)],
    ):
        done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    python = environment / "bin" / "python"
    done = subprocess.run(
        ["uv", "pip", "install", "--quiet", "--no-deps", "--offline", "--python", str(python), str(wheel)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (packages,) = environment.glob("lib/python*/site-packages")
    # A line of a .pth file becomes a place for imports, but that place's own .pth files, such as the one of the
    # checkout, are not read.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return environment / "bin"


def run(directory: Path, *line: str | Path) -> str:
    """Standard output of a command in an empty folder, without our settings and paths."""
    names = {name: value for name, value in os.environ.items() if not name.startswith((PREFIX, "PYTHONPATH"))}
    done = subprocess.run(line, cwd=directory, env=names, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_command_line_works(installed: Path, tmp_path: Path) -> None:
    assert "settings" in run(tmp_path, installed / "nextclick", "--help")
    printed = run(tmp_path, installed / "nextclick", "settings")
    assert {f"{PREFIX}{name.upper()}" for name in Settings.model_fields} <= set(printed.replace("=", " ").split())
    assert "--loglevel" in run(tmp_path, installed / "python", "-m", "faust", "-A", "worker", "worker", "--help")


def test_every_module_is_there_and_is_not_that_of_the_checkout(installed: Path, tmp_path: Path) -> None:
    files = [Path(line) for line in run(tmp_path, installed / "python", "-c", IMPORT_ALL, *PACKAGES).splitlines()]
    assert len(files) > 200
    assert all(installed.parent in file.parents for file in files)


def test_clicks_are_made_and_read_outside_of_the_checkout(installed: Path, tmp_path: Path) -> None:
    run(tmp_path, installed / "nextclick", "simulate", "--sessions", "200", "--out", "clicks.parquet")
    run(tmp_path, installed / "nextclick", "split", "clicks.parquet", "--out", "split.parquet")
    assert (tmp_path / "split.parquet").exists()
