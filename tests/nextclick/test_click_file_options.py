"""Every command that reads a file of clicks takes the same options, and says which rows it leaves out."""

from pathlib import Path

import pytest

from nextclick.commands.file_form import takes_file_form
from tests.command_line import Command


def events(path: Path) -> None:
    """Clicks of 60 sessions; every fourth row is no click, one row has no item, and times are in seconds."""
    lines = ["session_id,event_type,item_id,timestamp,split"]
    for n in range(240):
        kind = "pageview" if n % 4 == 3 else "view"
        item = "" if kind == "pageview" or n == 50 else str(100 + n % 4)
        split = "test" if n >= 200 else "train"
        lines.append(f"{n // 4},{kind},{item},{1_396_873_412 + n * 60},{split}")
    path.write_text("\n".join(lines) + "\n")


CHOSEN = ["--where", "event_type=view", "--skip-invalid"]


def test_train_and_evaluate_say_what_they_leave_out(nextclick: Command, tmp_path: Path) -> None:
    events(tmp_path / "events.csv")
    training = [
        "train",
        "--clicks",
        "events.csv",
        "--split",
        "train",
        "--out",
        "bundle",
        "--epochs",
        "1",
        "--hidden",
        "8",
    ]
    code, _, errors = nextclick(*training)
    assert code == 1
    assert "item_id is null or empty in 51 of 200 clicks (the first is line 5): --skip-invalid" in errors
    code, _, errors = nextclick(*training, *CHOSEN)
    assert code == 0, errors
    assert "events.csv: timestamp is in seconds, and is read so" in errors
    assert "51 of 200 rows left out: not event_type=view (50), item_id is null or empty, first in line 52 (1)" in errors
    assert "events.csv: 149 clicks" in errors
    judging = ["--model", "bundle", "--clicks", "events.csv", "--split", "test"]
    for command in ("evaluate", "breakdown"):
        code, _, errors = nextclick(command, *judging, *CHOSEN)
        assert code == 0, errors
        assert "10 of 40 rows left out: not event_type=view (10)" in errors
        code, _, errors = nextclick(command, *judging)
        assert code == 1
        assert "item_id is null or empty in 10 of 40 clicks" in errors


def test_split_compare_and_tune_say_what_they_leave_out(nextclick: Command, tmp_path: Path) -> None:
    events(tmp_path / "events.csv")
    code, _, errors = nextclick("split", "events.csv", "--out", "s.parquet", "--test", "0.2", *CHOSEN)
    assert code == 0, errors
    assert "61 of 240 rows left out" in errors
    comparing = ["compare", "--clicks", "events.csv", "--methods", "pop"]
    code, _, errors = nextclick(*comparing, *CHOSEN)
    assert code == 0, errors
    assert "51 of 200 rows left out" in errors
    assert "10 of 40 rows left out" in errors
    code, _, errors = nextclick(*comparing, "--skip-invalid")
    assert code == 0, errors
    assert "kept from before" not in errors, "other rows are another run"
    tuning = ["tune", "--clicks", "events.csv", "--split", "train", "--trials", "1", "--epochs", "1"]
    code, _, errors = nextclick(*tuning, *CHOSEN)
    assert code == 0, errors
    assert "51 of 200 rows left out" in errors


def test_options_of_files_are_not_for_the_topic(nextclick: Command) -> None:
    code, _, errors = nextclick("train", "--clicks", "kafka", "--where", "event_type=view")
    assert code == 1
    assert "--where, --skip-invalid, --quote and --encoding are for files, and the clicks come from Kafka" in errors


@pytest.mark.parametrize(
    "command",
    ["train", "evaluate", "breakdown", "compare", "tune", "split", "produce", "import csv", "import rsc15",
     "import diginetica", "import retailrocket"],
)  # fmt: skip
def test_every_command_that_reads_a_file_has_the_options(
    nextclick: Command, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    _, output, _ = nextclick(*command.split(), "--help")
    for option in ("--where", "--skip-invalid", "--quote", "--encoding"):
        assert option in output


def test_the_options_become_one_parameter() -> None:
    found = {}

    @takes_file_form
    def command(file: str, form: object = None) -> None:
        found[file] = form

    command(file="a", where=["kind=view"], skip_invalid=True, quote="none", encoding=None)
    assert str(found["a"].where[0]) == "kind=view"  # type: ignore[attr-defined]
    assert found["a"].quote == ""  # type: ignore[attr-defined]
