"""CI, the commit hooks and the Makefile run commands that exist, and the same checks."""

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOW = ROOT / ".github" / "workflows" / "ci.yml"
CHECKS = {"ruff check", "ruff format", "mypy", "lint-imports"}


def targets() -> dict[str, str]:
    """The recipe of each target of the Makefile."""
    found = re.findall(r"^([a-z-]+):.*\n((?:\t.*\n?)*)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    return dict(found)


def checks_in(text: str) -> set[str]:
    found = re.findall(r"uv run (?:--no-sync )?(ruff \w+|mypy|lint-imports)", text)
    return set(found)


def hooks() -> list[dict[str, Any]]:
    (local,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert local["repo"] == "local"
    hooks: list[dict[str, Any]] = local["hooks"]
    return hooks


def test_the_workflow_follows_its_schema_and_calls_the_checks() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", str(WORKFLOW)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    steps = yaml.safe_load(WORKFLOW.read_text())["jobs"]["checks"]["steps"]
    assert [step["run"] for step in steps if "run" in step] == [".ci/run"]
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o100


def test_the_workflow_runs_on_every_supported_python() -> None:
    pyproject = (ROOT / "pyproject.toml").read_text()
    first, below = re.findall(r'requires-python = ">=3\.(\d+),<3\.(\d+)"', pyproject)[0]
    matrix = yaml.safe_load(WORKFLOW.read_text())["jobs"]["checks"]["strategy"]["matrix"]["python"]
    assert matrix == [f"3.{minor}" for minor in range(int(first), int(below))]


def test_the_four_checks_are_the_same_everywhere() -> None:
    assert checks_in((ROOT / ".ci" / "run").read_text()) == CHECKS
    assert checks_in(targets()["check"]) == CHECKS
    assert checks_in("\n".join(hook["entry"] for hook in hooks())) == CHECKS


def test_ci_installs_from_all_lists_and_installs_nothing_else_after() -> None:
    text = (ROOT / ".ci" / "run").read_text()
    (sync,) = re.findall(r"uv pip sync (.+)", text)
    assert "--require-hashes" in sync
    (listed,) = re.findall(r"requirements/\{([\w,]+)\}\.txt", sync)
    assert {f"{name}.txt" for name in listed.split(",")} == {path.name for path in ROOT.glob("requirements/*.txt")}
    assert all("--no-sync" in line for line in text.splitlines() if line.startswith("check uv run"))


@pytest.mark.parametrize("hook", hooks(), ids=lambda hook: hook["id"])
def test_a_hook_runs_in_the_projects_environment_and_names_what_exists(hook: dict[str, Any]) -> None:
    assert hook["language"] == "system"
    command = shlex.split(hook["entry"])
    assert command[:3] == ["uv", "run", "--no-sync"]
    assert all((ROOT / word).exists() for word in command if word.endswith(".py"))


def test_the_makefile_has_at_most_ten_targets_and_says_what_each_does() -> None:
    explained = re.findall(r"^([a-z-]+):.*  ## \S", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert explained == list(targets())
    assert len(explained) <= 10


def test_documents_name_targets_that_exist() -> None:
    for path in (ROOT / "CONTRIBUTING.md", ROOT / "requirements" / "README.md", ROOT / ".pre-commit-config.yaml"):
        named = re.findall(r"(?:^|`)make ([a-z-]+)", path.read_text(), re.MULTILINE)
        assert set(named) <= set(targets()), path.name
        assert named, path.name
