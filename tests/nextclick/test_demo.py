"""The demo as a user starts it: it ends with figures and leaves no process or file, also after ctrl-C."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nextclick.demo.plan import QUICK
from nextclick.demo.scoreboard import Scoreboard
from nextclick.demo.traffic import simulate

COMMAND = [sys.executable, "-c", "from nextclick.cli import main; main()", "demo", "--quick"]
LIMIT_SECONDS = 240


def start(temporary: Path) -> "subprocess.Popen[str]":
    """The demo with its own temporary directory, which identifies every process that it starts."""
    environment = {**os.environ, "TMPDIR": str(temporary)}
    return subprocess.Popen(COMMAND, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def processes_of(temporary: Path) -> list[str]:
    """Command lines of the processes that were started with that temporary directory."""
    mark = f"TMPDIR={temporary}".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            variables = (process / "environ").read_bytes().split(b"\0")
            if any(variable.startswith(mark) for variable in variables):  # those of children are below it
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


@pytest.mark.kafka
@pytest.mark.slow
@pytest.mark.xdist_group("deployments")
@pytest.mark.usefixtures("compiled_kernel")
@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_demo_answers_every_click_and_beats_popularity(tmp_path: Path) -> None:
    process = start(tmp_path)
    output, errors = process.communicate(timeout=LIMIT_SECONDS)
    assert process.returncode == 0, errors + output
    assert re.search(r"answered +[\d,]+, missing 0, twice 0", output), output
    assert "model 2" in output
    assert "model 3" not in output
    popular, best = recall(output, "top 20 of the first day +same"), recall(output, "best possible")
    first, second = (recall(output, rf"model {number} \(\w+\) +[\d,]+") for number in (1, 2))
    assert popular < min(first, second) - 0.1
    assert max(first, second) < best + 0.02
    assert processes_of(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.kafka
@pytest.mark.slow
@pytest.mark.xdist_group("deployments")
@pytest.mark.usefixtures("compiled_kernel")
@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
@pytest.mark.parametrize("at", ["Apache Kafka", "Training"])
def test_interrupted_demo_leaves_nothing(tmp_path: Path, at: str) -> None:
    process = start(tmp_path)
    assert process.stdout is not None
    assert process.stderr is not None
    while at not in (line := process.stdout.readline()):
        assert line, process.stderr.read()
    deadline = time.monotonic() + 20
    while len(processes_of(tmp_path)) < 2:
        assert time.monotonic() < deadline, "no process besides the demo's own"
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert errors.count("\n") == 1
    assert "interrupted" in errors
    assert processes_of(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def recall(output: str, row: str) -> float:
    """Recall@20 of a row of the summary."""
    found = re.search(rf"^{row} +(0\.\d+)", output[output.index("answered by") :], re.MULTILINE)
    assert found is not None, output
    return float(found[1])


def test_a_click_is_the_label_of_the_recommendation_before_it() -> None:
    board = Scoreboard(popular=[7, 8], first_live_session=100)
    board.click("0-0", 100, 1, at=1_000)
    board.answer("0-0", 100, [3, 2], None, at=1_005)
    board.click("0-1", 100, 2, at=2_000)
    board.click("0-2", 100, 7, at=2_100)  # the label comes before its recommendation
    board.answer("0-1", 100, [4, 5], "v1", at=2_050)
    board.answer("0-1", 100, [4, 5], "v1", at=2_060)
    board.click("0-3", 99, 4, at=3_000)  # of the first day: counted, not judged
    board.answer("0-3", 99, [4], "v1", at=3_001)
    assert (board.clicks, board.answered, board.duplicates, board.waiting) == (4, 3, 1, 1)
    popular, model = board.score(None), board.score("v1")
    assert (popular.own.labels, popular.own.recall, popular.own.mrr) == (1, 1.0, 0.5)
    assert (model.own.labels, model.own.recall, model.popularity.recall) == (1, 0.0, 1.0)
    assert (model.answers, model.first_answer_at) == (1, 2_050)
    assert sorted(board.latencies) == [5, 50]


def test_the_days_of_the_demo_lie_in_the_past_and_share_no_session() -> None:
    traffic = simulate(QUICK)
    live = traffic.live()
    assert live["timestamp"].max() < time.time() * 1000  # type: ignore[operator]
    assert live["timestamp"].is_sorted()
    assert traffic.first_day["session_id"].max() < traffic.first_live_session  # type: ignore[operator]
    assert len(set(traffic.popular)) == 20
