"""Breaks lines on purpose and counts how many of these mutants the tests notice.

    uv run --with cosmic-ray==8.7.0 python -m tests.mutants [--count 200] [--seed 1] [--rooms delivery] [--quick]

A seeded sample of all mutants of the rooms below, the same for the same sources and seed. Each mutant gets the room's
quick tests first, those of the files that import the broken module before others, and then the thorough ones. Prints a
line a mutant, then the share that was noticed and the survivors with their changes. A run that was interrupted goes on
in the same `--work` folder; there, `--again` tries the survivors once more, with the tests of this working tree.

The tests run in forks of this process, which has imported the libraries: else that would take longer than the tests.
"""

import argparse
import contextlib
import difflib
import importlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from cosmic_ray.commands import init
from cosmic_ray.mutating import use_mutation
from cosmic_ray.plugins import get_operator
from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import TestOutcome, WorkerOutcome, WorkItem, WorkResult

ROOT = Path(__file__).parent.parent
DEFAULT_WORK = ROOT / ".pytest_cache" / "mutants"
PYTEST = ["-x", "-q", "-p", "no:cacheprovider", "-n", "0"]
QUICK = "not kafka and not slow and not long"
THOROUGH = "kafka and not long"

LIBRARIES = ("torch", "polars", "numba", "faust", "aiokafka", "rocksdict", "pydantic_settings", "s3fs", "typer")
"""Imported before the forks."""

WITHOUT_EFFECT = re.compile("core/(ReplaceBinaryOperator_BitOr_|ReplaceBinaryOperator_.*_BitOr|ExceptionReplacer)")
"""Operators left out: they change type annotations, or replace an exception by one that no code raises."""


DURATIONS = "durations.json"
NOT_NOTICED = {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}


@dataclass(frozen=True)
class Room:
    """Sources to break, and the tests that must notice.

    Attributes:
        sources: globs below the root.
        quick: files and folders whose tests without a Kafka take seconds.
        thorough: files whose tests, with a Kafka, take up to minutes.
    """

    sources: tuple[str, ...]
    quick: tuple[str, ...]
    thorough: tuple[str, ...]


ROOMS = {
    "recommender": Room(
        (
            "worker/recommender.py",
            "worker/session_state.py",
            "worker/popular.py",
            "worker/microbatch.py",
            "worker/live_metrics.py",
        ),
        (
            "tests/worker/test_session_state.py",
            "tests/worker/test_popular.py",
            "tests/worker/test_live_metrics.py",
            "tests/worker/test_microbatch.py",
            "tests/worker/test_recommender.py",
            "tests/worker/test_answer_max_age.py",
            "tests/worker/test_ids_of_both_kinds.py",
            "tests/worker/test_headers.py",
            "tests/worker/test_session_cut.py",
            "tests/worker/test_changed_settings.py",
            "tests/test_written_by_0_1.py",
        ),
        ("tests/worker/test_serving.py",),
    ),
    "delivery": Room(
        ("worker/pipeline.py", "worker/delivery/*.py"),
        (
            "tests/worker/test_assignor.py",
            "tests/worker/test_resume.py",
            "tests/worker/test_log_watch.py",
            "tests/worker/test_broker_clock.py",
            "tests/worker/test_which_changelogs_are_lost.py",
            "tests/worker/test_perform_seek.py",
            "tests/worker/test_fetching.py",
            "tests/worker/test_consumer_thread.py",
            "tests/worker/test_partition_ends.py",
            "tests/worker/test_stopping.py",
            "tests/worker/test_outage.py",
            "tests/worker/test_publisher.py",
            "tests/worker/test_membership.py",
            "tests/worker/test_watchdog.py",
            "tests/worker/test_pipeline.py",
            "tests/worker/test_skipped.py",
            "tests/worker/test_latency.py",
            "tests/worker/test_recovery_reads.py",
            "tests/worker/test_recovery.py",
            "tests/worker/test_session_store.py",
            "tests/worker/test_source.py",
            "tests/worker/test_answer_max_age.py",
            "tests/test_upstream_contract.py",
        ),
        (
            "tests/worker/test_recovery.py",
            "tests/worker/test_lost_changelog.py",
            "tests/worker/test_delivery.py",
            "tests/worker/test_faults.py",
        ),
    ),
    "registry": Room(
        ("modelregistry/*.py",),
        ("tests/modelregistry", "tests/trainer/retraining/test_release.py"),
        (
            "tests/modelregistry/test_models_topic.py",
            "tests/modelregistry/test_publishers_at_once.py",
            "tests/trainer/retraining/test_shadow_trial.py",
        ),
    ),
    "retraining": Room(
        ("trainer/retraining/*.py",),
        ("tests/trainer/retraining",),
        ("tests/trainer/retraining/test_retrain.py", "tests/trainer/retraining/test_shadow_trial.py"),
    ),
}


def main() -> None:
    arguments = _parsed()
    checkout = arguments.work / "checkout"
    if not checkout.exists():
        subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", str(ROOT), str(checkout)], check=True)
    _prepare(checkout)
    stages = {name: _stages(ROOMS[name], arguments.quick) for name in arguments.rooms}
    limits = {name: _limits(name, stages[name], arguments.work) for name in arguments.rooms}
    with use_db(str(arguments.work / "mutants.sqlite"), WorkDB.Mode.create) as db:
        if not db.num_work_items:
            init([path for name in arguments.rooms for path in _sources(ROOMS[name])], db, {})
        chosen = _sample(db, arguments.count, arguments.seed)
        results = dict(db.results)
        durations = Durations(arguments.work / DURATIONS)
        for place, item in enumerate(chosen, 1):
            if item.job_id not in results or (arguments.again and not results[item.job_id].is_killed):
                name = next(name for name in stages if item.mutations[0].module_path in _sources(ROOMS[name]))
                results[item.job_id] = _tried(item, stages[name], limits[name], place, durations)
                db.set_result(item.job_id, results[item.job_id])
            print(f"{place}/{len(chosen)} {_place(item)}: {results[item.job_id].test_outcome.value}", flush=True)
    _report(chosen, results)


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200, help="mutants in the sample")
    parser.add_argument("--seed", type=int, default=1, help="of the sample")
    parser.add_argument("--rooms", nargs="+", choices=ROOMS, default=list(ROOMS))
    parser.add_argument("--quick", action="store_true", help="without the thorough tests")
    parser.add_argument("--again", action="store_true", help="try survivors again")
    parser.add_argument("--work", type=Path, default=DEFAULT_WORK, help="folder for the broken copy and the results")
    arguments = parser.parse_args()
    arguments.work = arguments.work.resolve()
    arguments.work.mkdir(parents=True, exist_ok=True)
    return arguments


def _prepare(checkout: Path) -> None:
    """Let forks and their child processes import the copy. The tests in it are those of this working tree."""
    shutil.rmtree(checkout / "tests")
    shutil.copytree(ROOT / "tests", checkout / "tests")
    os.chdir(checkout)
    os.environ["PYTHONPATH"] = str(checkout)  # before the installed packages
    os.environ["NUMBA_CACHE_DIR"] = str(checkout / ".pytest_cache" / "numba")
    os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix = str(checkout / ".pytest_cache" / "bytecode")
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    sys.path.insert(0, str(checkout))
    for name in LIBRARIES:
        importlib.import_module(name)
    for name in [name for name in sys.modules if name.partition(".")[0] == "tests"]:
        del sys.modules[name]


def _sources(room: Room) -> list[Path]:
    return sorted(path for pattern in room.sources for path in Path().glob(pattern) if path.name != "__init__.py")


def _stages(room: Room, quick: bool) -> list[tuple[str, list[Path]]]:
    """Pytest's `-m` and the test files of each stage."""
    found = [path for named in map(Path, room.quick) for path in (sorted(named.rglob("test_*.py")) or [named])]
    stages = [(QUICK, found)]
    return stages if quick else [*stages, (THOROUGH, [Path(name) for name in room.thorough])]


def _limits(name: str, stages: list[tuple[str, list[Path]]], work: Path) -> list[float]:
    """Three times what each stage of a room takes on the unbroken sources, seconds; measured once."""
    known = work / f"{name}.json"
    durations = Durations(work / DURATIONS, keep=True)
    limits: list[float] = json.loads(known.read_text()) if known.exists() else []
    for marks, files in stages[len(limits) :]:
        _run_tests(marks, files, 1200, durations)  # compiles, which mutants need not do
        begin = time.monotonic()
        outcome, output = _run_tests(marks, files, 1200, durations)
        if outcome is not TestOutcome.SURVIVED:
            sys.exit(f"the tests of {name} fail on unbroken sources:\n{output}")
        limits.append(3 * (time.monotonic() - begin) + 30)
        print(f"{name}, {marks}: {time.monotonic() - begin:.0f} s unbroken", flush=True)
    known.write_text(json.dumps(limits))
    return limits


class Durations:
    """A plugin of pytest: lets the quickest tests run first, and can keep how long each took.

    Args:
        path: JSON file of node id → seconds.
        keep: whether to write it.
    """

    def __init__(self, path: Path, keep: bool = False) -> None:
        self._path, self._keep = path, keep
        self._seconds: dict[str, float] = json.loads(path.read_text()) if path.exists() else {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Order the tests."""
        items.sort(key=lambda item: self._seconds.get(item.nodeid, 0.0))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note how long a test took, with its fixtures."""
        if report.when == "setup":
            self._seconds[report.nodeid] = 0.0
        self._seconds[report.nodeid] += report.duration

    def pytest_sessionfinish(self) -> None:
        """Write the durations."""
        if self._keep:
            self._path.write_text(json.dumps(self._seconds))


def _run_tests(marks: str, files: list[Path], limit: float, durations: Durations) -> tuple[TestOutcome, str]:
    """Run tests in a fork; a mutant whose tests take longer than the limit, seconds, is noticed."""
    with tempfile.TemporaryFile("w+") as output:
        child = os.fork()
        if child == 0:
            os.setsid()
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
            code = 1
            try:
                code = pytest.main([*PYTEST, "-m", marks, *map(str, files)], [durations])
            finally:
                sys.stdout.flush()
                os._exit(code)
        end = time.monotonic() + limit
        while not (done := os.waitpid(child, os.WNOHANG))[0] and time.monotonic() < end:
            time.sleep(0.05)
        with contextlib.suppress(ProcessLookupError):  # what the tests left behind
            os.killpg(child, signal.SIGKILL)
        if not done[0]:
            os.waitpid(child, 0)
            return TestOutcome.KILLED, "over time"
        output.seek(0)
        noticed = os.waitstatus_to_exitcode(done[1]) not in NOT_NOTICED
        return (TestOutcome.KILLED if noticed else TestOutcome.SURVIVED), output.read()


def _sample(db: WorkDB, count: int, seed: int) -> list[WorkItem]:
    items = [item for item in db.work_items if not WITHOUT_EFFECT.match(item.mutations[0].operator_name)]
    items.sort(key=_place)
    return random.Random(seed).sample(items, min(count, len(items)))


def _place(item: WorkItem) -> str:
    mutation = item.mutations[0]
    return f"{mutation.module_path}:{mutation.start_pos[0]}:{mutation.start_pos[1]} {mutation.operator_name}"


def _tried(
    item: WorkItem, stages: list[tuple[str, list[Path]]], limits: list[float], place: int, durations: Durations
) -> WorkResult:
    mutation = item.mutations[0]
    path = mutation.module_path
    operator = get_operator(mutation.operator_name)(**mutation.operator_args)
    with use_mutation(path, operator, mutation.occurrence) as (before, after):
        os.utime(path, (place, place))  # Python takes bytecode of equal time and size for that of this mutant
        outcome, output = TestOutcome.SURVIVED, ""
        for (marks, files), limit in zip(stages, limits, strict=False):
            for part in _nearest_first(files, path):
                if part and outcome is TestOutcome.SURVIVED:
                    outcome, output = _run_tests(marks, part, limit, durations)
    diff = difflib.unified_diff(before.splitlines(), after.splitlines(), str(path), str(path), lineterm="", n=1)
    return WorkResult(WorkerOutcome.NORMAL, output, outcome, "\n".join(diff))


def _nearest_first(files: list[Path], broken: Path) -> tuple[list[Path], list[Path]]:
    """The files that import a module, and the others."""
    package, name = ".".join(broken.parent.parts), broken.stem
    named = re.compile(rf"{package}\.{name}\b|from {package} import .*\b{name}\b")
    near = [file for file in files if named.search(file.read_text())]
    return near, [file for file in files if file not in near]


def _report(chosen: list[WorkItem], results: dict[str, WorkResult]) -> None:
    survivors = [item for item in chosen if not results[item.job_id].is_killed]
    for item in survivors:
        print(f"\nsurvived: {_place(item)}\n{results[item.job_id].diff}")
    print(f"\n{len(chosen) - len(survivors)} of {len(chosen)} mutants were noticed")


if __name__ == "__main__":
    main()
