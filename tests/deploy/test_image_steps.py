"""The steps of the Dockerfile, without Docker: each RUN line of its first two stages, in the order of the file.

Only torch, which has gigabytes of GPU libraries, is not installed again: that of this environment takes its place.
"""

import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.deploy.deployment_files import DOCKERFILE, ROOT, image_commands

pytestmark = pytest.mark.long


def stages() -> list[list[tuple[str, str]]]:
    """The instructions of each stage: COPY (from the checkout) and RUN, with their arguments."""
    text = DOCKERFILE.read_text().replace("\\\n", " ")
    return [
        re.findall(r"^(COPY|RUN) (?!--)(.+)$", stage, re.MULTILINE)
        for stage in re.split(r"^FROM .*$", text, flags=re.MULTILINE)[1:]
    ]


def run_step(command: str, root: Path) -> None:
    """One RUN line; `/opt`, `/wheels` and `/source` are folders of `root`."""
    for folder in ("/opt/", "/wheels"):
        command = command.replace(folder, f"{root}{folder}")
    path = f"{root}/opt/nextclick/bin:{root}/python/bin:{os.environ['PATH']}"
    names = {name: value for name, value in os.environ.items() if name not in {"VIRTUAL_ENV", "PYTHONPATH"}}
    done = subprocess.run(
        ["sh", "-ec", command],
        cwd=root / "source",
        env={**names, "PATH": path, "TORCH_INDEX": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}{done.stderr[-4000:]}"


@pytest.mark.timeout(1200)
def test_the_steps_build_an_environment_that_runs_the_images_command(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "python"], check=True)  # the Python of the first stage
    wheel, build, _ = stages()
    for kind, arguments in wheel + build:
        if kind == "COPY":
            for name in arguments.split()[:-1]:
                subprocess.run(["cp", "-r", ROOT / name, source], check=True)
        elif "TORCH_INDEX" in arguments:
            (packages,) = (tmp_path / "opt" / "nextclick").glob("lib/python*/site-packages")
            (packages / "torch.pth").write_text(sysconfig.get_path("purelib") + "\n")
        else:
            run_step(arguments.removesuffix(" && pip check"), tmp_path)  # it would miss torch
    programs = tmp_path / "opt" / "nextclick" / "bin"
    worker, *_ = [command for command in image_commands() if command[0] == "faust"]
    for program, *arguments in (worker, ["nextclick"]):
        done = subprocess.run(
            [programs / program, *arguments, "--help"], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
