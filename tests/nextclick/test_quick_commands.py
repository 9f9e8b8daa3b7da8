"""Commands that only list names and announce versions load nothing that computes, and print for programs."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.settings import Settings
from tests.command_line import CommandLine
from tests.worker.deployment import bundle

SLOW = {"torch", "numba", "polars", "scipy", "faust", "numpy"}

RUN = """
import sys
sys.argv[1:] = {arguments!r}
from nextclick.cli import main
try:
    main()
except SystemExit:
    pass
print("loaded", *sorted({slow!r} & set(sys.modules)))
"""


def loaded(directory: Path, *arguments: str) -> str:
    """The slow packages that a command loads."""
    code = RUN.format(arguments=list(arguments), slow=SLOW)
    done = subprocess.run([sys.executable, "-c", code], cwd=directory, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1].removeprefix("loaded").strip()


@pytest.fixture(scope="module")
def served(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[CommandLine, Settings]]:
    """A deployment with two versions: `v1` was rolled back from, then `v2` was promoted and `v1` made its shadow."""
    directory = tmp_path_factory.mktemp("quick")
    settings = Settings(
        _env_file=None, broker=kafka, app_id="quick", clicks_topic="quick-clicks", models_topic="quick-models",
        recommendations_topic="quick-recommendations", rejected_topic="quick-rejected", partitions=1,
        data_dir=directory / "data", models_uri=str(directory / "models"),
    )  # fmt: skip
    (directory / ".env").write_text(
        "".join(f"NEXTCLICK_{name.upper()}={getattr(settings, name)}\n" for name in settings.model_fields_set)
    )
    line = CommandLine(directory)
    assert line.run("topics")[0] == 0
    for version in ("20261124T080112-first", "20261124T090112-second"):
        path = bundle(directory / version, version)
        assert line.run("models", "publish", str(path), "--why", f"for {version}")[0] == 0
    yield line, settings
    line.close()


@pytest.mark.kafka
@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("models",),
        ("models", "story"),
        ("models", "gc", "--dry-run"),
        ("models", "promote", "20261124T090112-second"),
        ("models", "publish", "20261124T090112-second"),
        ("models", "rollback"),
        ("watch", "--once"),
        ("topics",),
        ("settings",),
    ],
    ids=" ".join,
)
def test_a_command_that_computes_nothing_loads_nothing_that_computes(
    served: tuple[CommandLine, Settings], arguments: tuple[str, ...]
) -> None:
    line, _ = served
    assert loaded(line.directory, *arguments) == ""


@pytest.mark.kafka
def test_json_has_one_object_per_line_with_whole_versions(served: tuple[CommandLine, Settings]) -> None:
    line, settings = served
    code, output, _ = line.run("models", "--json")
    versions = [json.loads(row) for row in output.splitlines()]
    assert code == 0
    assert [version["version"] for version in versions] == ["20261124T080112-first", "20261124T090112-second"]
    assert all(version["stored"] and version["uri"].endswith(version["version"]) for version in versions)
    assert len([version for version in versions if version["role"] == "serves"]) == 1

    decisions = [json.loads(row) for row in line.run("models", "story", "--json")[1].splitlines()]
    assert [decision["reason"] for decision in decisions][:2] == [
        "published by hand: for 20261124T080112-first",
        "published by hand: for 20261124T090112-second",
    ]
    assert line.run("watch", "--once", "--json")[:2] == (0, "")

    topics = {row["topic"]: row for row in map(json.loads, line.run("topics", "--json")[1].splitlines())}
    assert topics[settings.models_topic]["config"]["cleanup.policy"] == "compact"
    assert {row["state"] for row in topics.values()} == {"as it should be"}


@pytest.mark.kafka
@pytest.mark.parametrize("columns", ["30", "200"])
def test_versions_are_whole_at_any_width(
    served: tuple[CommandLine, Settings], columns: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    line, _ = served
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr("tests.command_line.COLUMNS", columns)
    output = line.run("models")[1]
    assert "20261124T090112-second" in output
    assert "recall@20" in output
