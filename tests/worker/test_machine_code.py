"""What serving calls is compiled before the worker takes partitions, and not while it answers clicks."""

import asyncio
import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clicklog.items import ItemIndex
from clicklog.sessions import Sessions
from modelregistry.publishing import publish_bundle
from rankers.blend.model import Blend
from rankers.bundle import Bundle, write_bundle
from rankers.families import FAMILIES, counted_family_of
from tests.rankers import test_family_contract as contract
from tests.worker.deployment import ITEMS, Deployment, clicks_of
from worker import machine_code

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("deployments")]

SERVE = """
import sys
from pathlib import Path
import torch
from numba.core import event
from rankers.bundle import read_bundle
from worker.recommender import PendingClick, Recommender
from worker.serving_model import ServingModel
from worker.session_state import new_session

class Compilations(event.Listener):
    def on_start(self, started):
        print(bundle.version, scoring, "compiles", started.data["dispatcher"].py_func.__name__, *started.data["args"])

    def on_end(self, ended):
        pass

def clicks(states, moment):
    return [
        PendingClick(0, moment, b"%d" % number, number, 1000 + 7 * number, moment, state)
        for number, state in enumerate(states)
    ]

event.register("numba:compile", Compilations())
for path in sorted(Path(sys.argv[1]).iterdir()):
    for scoring in ("exact", "int8"):
        bundle = read_bundle(path)
        model = ServingModel(bundle, torch.device("cpu"), scoring, details=True)
        model.ranker.warm_up(64)
        recommender = Recommender(gap_ms=10**9, history=50, model=model)
        states = [new_session(0) for _ in range(40)]
        for moment, sessions in enumerate((1, 3, 40)):
            assert all(recommender.recommend(clicks(states[:sessions], moment), moment).answers)
print("all have answered")
"""
"""Answers clicks with every model of a directory, and tells what is compiled for it."""

NOWHERE = {"NUMBA_CACHE_DIR": "/dev/null/numba", "NUMBA_CACHE_LOCATOR_CLASSES": "UserProvidedCacheLocator"}
"""Numba finds no place for its cache, as on a read-only file system."""


def blend(items: int, first: int = 0) -> Blend:
    sessions = Sessions(np.arange(items), np.arange(0, items + 1, 5))
    neighbours = counted_family_of("stan").count({"items": items}, sessions)
    network = contract.gru4rec(items=items)
    return Blend("gru4rec", network, list(range(first, first + items)), "stan", neighbours, 0.4, 2.0)


def bundle_of(version: str, family: str, model: Any, directory: Path, first: int = 0) -> Path:
    items = (model.neighbours if isinstance(model, Blend) else model).config.items
    numbered = ItemIndex(list(range(first, first + items)), np.arange(items, 0, -1))
    write_bundle(Bundle(version, model, numbered, family), directory / version)
    return directory / version


def compiling(place: Path) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "rankers.compile_ahead"]
    return subprocess.Popen(command, env=os.environ | {"NUMBA_CACHE_DIR": str(place)})


def machine_code_in(place: Path) -> set[Path]:
    return set(place.rglob("*.nbc"))


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of its own, into which all was compiled."""
    place = tmp_path_factory.mktemp("numba")
    assert compiling(place).wait() == 0
    return place


def test_models_of_all_families_answer_without_the_compiler(compiled: Path, tmp_path: Path) -> None:
    for (family, variant), make in contract.MODELS.items():
        if family in FAMILIES:
            bundle_of(f"{family}-{variant}".replace(" ", "-").replace(",", ""), family, make(), tmp_path, 1000)
    bundle_of("blend-of-several-panels", "blend", blend(2500, 1000), tmp_path, 1000)
    done = subprocess.run(
        [sys.executable, "-c", SERVE, str(tmp_path)],
        env=os.environ | {"NUMBA_CACHE_DIR": str(compiled)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.splitlines() == ["all have answered"], done.stderr


def test_a_worker_compiles_before_it_takes_partitions_and_not_at_a_swap(deployment: Deployment, tmp_path: Path) -> None:
    cache = tmp_path / "numba"
    deployment.publish("v1")
    worker = deployment.start(options=("-l", "info"), NUMBA_CACHE_DIR=str(cache))
    deployment.wait_until(lambda: "their clicks are answered now" in worker.said, "the start", 240)
    assert 0 < worker.said.index("the scorers are compiled, in") < worker.said.index("assigned: partitions")
    before = machine_code_in(cache)
    asyncio.run(publish_bundle(bundle_of("a-blend", "blend", blend(ITEMS), tmp_path), deployment.settings))
    deployment.wait_until(lambda: "model a-blend is ready" in worker.said, "the swap", 120)
    deployment.send(clicks_of(40, 3))
    deployment.wait_until_all_answered()
    assert machine_code_in(cache) == before


def test_a_worker_on_a_read_only_file_system_keeps_machine_code_with_its_states(deployment: Deployment) -> None:
    deployment.publish("v1")
    worker = deployment.start("w1", options=("-l", "info"), **NOWHERE)
    deployment.send(clicks_of(4, 3))
    deployment.wait_until_all_answered(240)
    assert "the scorers are compiled, in" in worker.said
    kept = deployment.directory / "w1" / "numba"
    before = machine_code_in(kept)
    assert before
    assert worker.stop() == 0
    said = len(worker.said)
    again = deployment.start("w1", options=("-l", "info"), **NOWHERE)
    deployment.send(clicks_of(4, 3))
    deployment.wait_until_all_answered(240)
    assert "compil" not in again.said[said:]
    assert machine_code_in(kept) == before


def test_a_worker_that_is_stopped_while_it_compiles_ends_with_its_compiler(
    deployment: Deployment, tmp_path: Path
) -> None:
    cache = tmp_path / "numba"
    worker = deployment.start(options=("-l", "info"), NUMBA_CACHE_DIR=str(cache))
    deployment.wait_until(lambda: bool(machine_code_in(cache)), "the compiler")
    assert worker.stop() == 0
    (lock,) = cache.rglob("compiling.lock")
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)  # nobody compiles any more
    assert not list(cache.rglob("compiled-*"))


def test_of_two_processes_one_compiles_and_the_other_waits(compiled: Path, tmp_path: Path) -> None:
    (mark,) = compiled.rglob("compiled-*")
    cache = tmp_path / mark.parent.name
    cache.mkdir()
    with (cache / "compiling.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        second = compiling(tmp_path)
        with pytest.raises(subprocess.TimeoutExpired):
            second.wait(15)
        shutil.copy(mark, cache)
    assert second.wait(60) == 0
    assert not machine_code_in(tmp_path)


async def test_a_worker_that_cannot_compile_ahead_says_so_and_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    compiler = tmp_path / "python"
    compiler.write_text("#!/bin/sh\necho first; echo 'OSError: the disk is full' >&2; exit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(compiler))
    monkeypatch.setattr("rankers.compile_ahead.is_done", lambda: False)
    await machine_code.compile_scorers_ahead(tmp_path)
    (warning,) = (record for record in caplog.records if record.levelname == "WARNING")
    assert "could not be compiled ahead (OSError: the disk is full)" in warning.message


async def test_a_worker_that_can_start_no_compiler_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "missing"))
    monkeypatch.setattr("rankers.compile_ahead.is_done", lambda: False)
    await machine_code.compile_scorers_ahead(tmp_path)
    assert "could not be compiled ahead ([Errno 2] No such file or directory" in caplog.text


@pytest.mark.parametrize(
    ("does", "reason"),
    [
        ("kill -9 $$", "killed by signal 9; 9 is mostly the memory limit"),
        ("exec sleep 60", "not done after 1 s"),
    ],
)
async def test_the_end_of_the_compiler_is_told(
    does: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    compiler = tmp_path / "python"
    compiler.write_text(f"#!/bin/sh\n{does}\n")
    compiler.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(compiler))
    monkeypatch.setattr("rankers.compile_ahead.is_done", lambda: False)
    monkeypatch.setattr(machine_code, "LONGEST_SECONDS", 1.0)
    await machine_code.compile_scorers_ahead(tmp_path)
    assert f"could not be compiled ahead ({reason})" in caplog.text


def test_after_any_change_of_the_sources_and_back_all_is_compiled_anew(tmp_path: Path) -> None:
    """The search of a blend is compiled into another file's function, which numba does not look at."""
    shutil.copytree(Path(machine_code.__file__).parents[1] / "rankers", tmp_path / "rankers")
    search = tmp_path / "rankers" / "neighbours" / "search.py"
    before = search.read_text()
    cache = tmp_path / "numba"

    def compiled_from(text: str) -> set[bytes]:
        search.write_text(text)
        environment = os.environ | {"NUMBA_CACHE_DIR": str(cache), "PYTHONPATH": str(tmp_path)}
        subprocess.run([sys.executable, "-m", "rankers.compile_ahead"], env=environment, cwd=tmp_path, check=True)
        return {file.read_bytes() for file in cache.rglob("merge.best_of_both*.nbc")}

    first = compiled_from(before)
    assert len(first) == 1
    assert compiled_from(before) == first
    changed = compiled_from(before.replace("touched[count] = item", "touched[count] = item + 0 * count"))
    assert changed != first
    assert compiled_from(before) != changed


def test_without_numba_s_compiler_nothing_is_compiled_ahead() -> None:
    """NUMBA_DISABLE_JIT is for debuggers."""
    said = subprocess.run(
        [sys.executable, "-c", "from rankers import compile_ahead; print(compile_ahead.is_done())"],
        env=os.environ | {"NUMBA_DISABLE_JIT": "1"}, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert said == "True\n"
