"""What commands print into a pipe, a file or a narrow terminal: whole names, values that can be used, no traceback."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.table import Table

from nextclick.commands.settings import _quoted
from nextclick.commands.tables import print_table
from nextclick.pipes import ends_with_its_reader
from schemas.env_file import read_env_file
from schemas.errors import printable
from schemas.settings import PREFIX, Settings, load_settings
from tests.command_line import Command


@pytest.fixture(autouse=True)
def _no_other_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(PREFIX)] + ["COLUMNS", "FORCE_COLOR"]:
        monkeypatch.delenv(name, raising=False)


def names() -> list[str]:
    return [PREFIX + name.upper() for name in Settings.model_fields]


def test_settings_in_a_pipe_are_a_file_of_settings(
    nextclick: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = {
        "models_uri": "/data/my models #1/[x]",
        "archive_uri": "/it's/a \\ path",
        "session_gap": "1.5h",
        "latency_objective": "1500ms",
        "fetch_timeout": "1.25ms",
        "member_id": "worker-0",
        "retrain_margin": "-0.015",
    }
    for name, value in odd.items():
        monkeypatch.setenv(PREFIX + name.upper(), value)
    printed, expected = nextclick("settings").stdout, load_settings()
    for name in odd:
        monkeypatch.delenv(PREFIX + name.upper())
    (tmp_path / ".env").write_text(printed)
    assert load_settings() == expected
    assert "NEXTCLICK_CLICKS_RETENTION=90d  # " in printed
    assert "NEXTCLICK_SESSION_GAP=90m  # " in printed
    assert "NEXTCLICK_LATENCY_OBJECTIVE=1500ms  # " in printed
    assert [line.removeprefix("# ").split("=")[0] for line in printed.splitlines()] == names()
    assert "# NEXTCLICK_RETRAIN_CONFIG=  # " in printed


def test_settings_show_no_secret(nextclick: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXTCLICK_SECURITY_PROTOCOL", "SASL_SSL")
    monkeypatch.setenv("NEXTCLICK_SASL_MECHANISM", "PLAIN")
    monkeypatch.setenv("NEXTCLICK_SASL_USERNAME", "ann")
    monkeypatch.setenv("NEXTCLICK_SASL_PASSWORD", "swordfish")
    in_a_pipe = nextclick("settings").stdout
    assert "# NEXTCLICK_SASL_PASSWORD=  # set, not shown; " in in_a_pipe
    assert "NEXTCLICK_SASL_USERNAME=ann  # " in in_a_pipe
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    on_a_terminal = nextclick("settings").stdout
    assert "set, not shown" in on_a_terminal
    assert "swordfish" not in in_a_pipe + on_a_terminal


@pytest.mark.parametrize("value", ["it's $HOME", "it's `tick`", "new\nline", "${HOME}", "\\'$x!"])
def test_a_value_that_no_env_file_can_hold_is_for_a_shell(
    value: str, nextclick: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEXTCLICK_DATA_DIR", value)
    printed = nextclick("settings")
    assert "the line of NEXTCLICK_DATA_DIR is for a shell" in printed.stderr
    (tmp_path / "settings.sh").write_text(printed.stdout)
    shell = ["bash", "-c", 'unset NEXTCLICK_DATA_DIR; . ./settings.sh; printf %s "$NEXTCLICK_DATA_DIR"']
    assert subprocess.run(shell, capture_output=True, text=True, check=True, cwd=tmp_path).stdout == value


@pytest.mark.parametrize("value", ["a b", "it's", 'say "x"', 'it\'s "x"', "a#b", "back\\slash", "$HOME",
                                   "a;b", "~/data", "a&b", "(x)", "\\\\host\\share", "ends\\"])  # fmt: skip
def test_a_shell_and_an_env_file_read_a_printed_value(value: str, tmp_path: Path) -> None:
    if value == "$HOME":
        assert _quoted(value) == "'$HOME'"
    done = subprocess.run(["sh", "-c", f"printf %s {_quoted(value)}"], capture_output=True, text=True, check=True)
    assert done.stdout == value
    (tmp_path / ".env").write_text(f"NEXTCLICK_DATA_DIR={_quoted(value)}  # meaning\n")
    assert read_env_file(tmp_path / ".env", PREFIX)[0] == {"NEXTCLICK_DATA_DIR": value}


def test_settings_on_a_narrow_terminal_have_whole_names(nextclick: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NEXTCLICK_MODELS_URI", "s3://bucket/" + "x" * 60)
    printed = nextclick("settings").stdout
    assert [name for name in names() if name not in printed] == []
    assert "…" not in printed
    assert printed.count("x") >= 60


def test_a_table_in_a_pipe_is_as_wide_as_it_needs_and_shows_texts_as_they_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    cells = ["v" * 120, "[bold]:bug:", "s3://" + "x" * 200]
    table = Table("version", "mark", "place", title="Models [a]")
    table.add_row(*cells)
    print_table(table)
    printed = capsys.readouterr().out
    (row,) = [line for line in printed.splitlines() if "vvv" in line]
    assert [cell.strip() for cell in row.strip("│ ").split("│")] == cells
    assert "Models [a]" in printed


def leave(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script whose standard output is a pipe that nobody reads any more."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        return subprocess.run(
            [sys.executable, "-c", script],
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
            env=os.environ | environment,
        )
    finally:
        os.close(writer)


@pytest.mark.parametrize(
    "script",
    [
        "import sys; sys.argv[1:] = ['settings']; from nextclick.start import main; main()",
        "import sys; sys.argv[1:] = ['--help']; from nextclick.start import main; main()",
    ],
    ids=["settings", "help"],
)
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_command_whose_reader_has_left_ends_quietly(script: str, unbuffered: str) -> None:
    done = leave(script, PYTHONUNBUFFERED=unbuffered)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_failure_keeps_its_line_and_exit_code_without_a_reader() -> None:
    script = "import sys; sys.argv[1:] = ['topics']; from nextclick.start import main; main()"
    done = leave(script, NEXTCLICK_BROKER="127.0.0.1:1")
    assert done.returncode == 1
    assert done.stderr.startswith("nextclick: no Kafka broker answers at 127.0.0.1:1")


def test_another_broken_pipe_is_not_taken_for_the_readers() -> None:
    with pytest.raises(BrokenPipeError), ends_with_its_reader():
        raise BrokenPipeError(32, "a connection to a broker")


def test_what_the_terminals_encoding_lacks_is_escaped() -> None:
    script = "import sys; sys.argv[1:] = ['models', 'publish', 'kaffee-☕']; from nextclick.start import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONIOENCODING": "ascii", "NEXTCLICK_BROKER": "127.0.0.1:1"},
    )  # fmt: skip
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)


def test_a_message_is_one_printable_line() -> None:
    assert printable("a\x00b\n\tc\x1b[31m é") == "a\\x00b c\\x1b[31m é"
    long = printable("\x00" * 100_000)
    assert len(long) < 1100
    assert long.endswith("(100,000 characters)")


def test_a_binary_file_is_refused_without_its_bytes(nextclick: Command, tmp_path: Path) -> None:
    content = bytes(range(128, 256)) * 50
    for name in ("bundle.json", "SHA256", "items.json"):
        (tmp_path / "model").mkdir(exist_ok=True)
        (tmp_path / "model" / name).write_bytes(content)
    (tmp_path / "clicks.csv").write_text("session_id,item_id,timestamp\n1,2,\n1,3,\n")
    (tmp_path / "train.toml").write_bytes(content)
    for arguments in (
        ("evaluate", "--model", "model", "--clicks", "clicks.csv"),
        ("train", "--clicks", "clicks.csv", "--config", "train.toml"),
    ):
        done = nextclick(*arguments)
        assert done.code == 1
        assert len(done.stderr) < 400, done.stderr
        assert done.stderr.strip().isprintable()
        assert arguments[2] in done.stderr or arguments[4] in done.stderr


@pytest.mark.parametrize("hidden", ["trainer.py", "schemas/__init__.py", "worker.py"])
def test_a_module_of_the_current_folder_that_hides_a_package_is_named(hidden: str, tmp_path: Path) -> None:
    module = tmp_path / hidden
    module.parent.mkdir(exist_ok=True)
    module.write_text("mine = True\n")
    done = subprocess.run([sys.executable, "-m", "nextclick", "settings"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    name = hidden.split("/")[0].removesuffix(".py")
    assert done.stderr.startswith(f"nextclick: {module} hides the package {name!r} of nextclick (")
    assert done.stderr.count("\n") == 1


def test_a_worker_says_which_module_hides_a_package(tmp_path: Path) -> None:
    (tmp_path / "schemas.py").write_text("mine = True\n")
    done = subprocess.run(
        [sys.executable, "-m", "faust", "-A", "worker", "worker"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert f"nextclick: {tmp_path / 'schemas.py'} hides the package 'schemas' of nextclick" in done.stderr
    assert "Traceback" not in done.stderr


def test_recommendations_end_when_their_reader_leaves_though_no_more_arrive(kafka_settings: Settings) -> None:
    environment = {
        "NEXTCLICK_BROKER": kafka_settings.broker,
        "NEXTCLICK_RECOMMENDATIONS_TOPIC": kafka_settings.recommendations_topic,
    }
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "nextclick", "recommendations"],
        env=os.environ | environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        assert "ctrl-C ends" in process.stderr.readline()
        began = time.monotonic()
        process.stdout.close()
        assert process.wait(30) == 0
        assert time.monotonic() - began < 25
        assert process.stderr.read() == ""
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
