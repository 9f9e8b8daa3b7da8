"""Breaks lines on purpose and counts how many of these mutants the tests notice.

    uv run --with cosmic-ray==8.7.0 python -m tests.mutants [--count 200] [--seed 1] [--rooms delivery]

A seeded sample of all mutants of the rooms below, the same for the same sources and seed. Each mutant gets the room's
quick tests, and its thorough ones only if it survives these. Prints a line a mutant, then the share that was noticed
and the survivors with their changes. A run that was interrupted goes on in the same `--work` folder.
"""

import argparse
import json
import os
import random
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cosmic_ray.commands import init
from cosmic_ray.mutating import mutate_and_test
from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import WorkerOutcome, WorkItem, WorkResult

ROOT = Path(__file__).parent.parent
DEFAULT_WORK = ROOT / ".pytest_cache" / "mutants"
PYTEST = "-m pytest -x -q -p no:cacheprovider -n 0"

WITHOUT_EFFECT = re.compile("core/(ReplaceBinaryOperator_BitOr_|ReplaceBinaryOperator_.*_BitOr|ExceptionReplacer)")
"""Operators left out: they change type annotations, or replace an exception by one that no code raises."""


@dataclass(frozen=True)
class Room:
    """Sources to break, and the tests that must notice.

    Attributes:
        sources: globs below the root.
        quick: arguments of pytest that take seconds.
        thorough: arguments of pytest that take up to minutes; empty if there are no such tests.
    """

    sources: tuple[str, ...]
    quick: str
    thorough: str = ""


ROOMS = {
    "recommender": Room(
        (
            "worker/recommender.py",
            "worker/session_state.py",
            "worker/popular.py",
            "worker/microbatch.py",
            "worker/live_metrics.py",
        ),
        "tests/worker/test_session_state.py tests/test_written_by_0_1.py tests/worker/test_recommender.py "
        "tests/worker/test_session_cut.py",
        "tests/worker/test_serving.py -k 'figures or shadow'",
    ),
    "delivery": Room(
        ("worker/pipeline.py", "worker/delivery/*.py"),
        "tests/worker/test_source.py tests/worker/test_recovery.py",
        "tests/worker/test_delivery.py tests/worker/test_faults.py",
    ),
    "registry": Room(("modelregistry/*.py",), "tests/modelregistry", "tests/trainer/retraining/test_retrain.py"),
    "retraining": Room(
        ("trainer/retraining/*.py",),
        "tests/trainer/retraining/test_judge.py tests/trainer/retraining/test_resume_point.py "
        "tests/trainer/retraining/test_release.py",
        "tests/trainer/retraining/test_retrain.py tests/trainer/retraining/test_shadow_trial.py",
    ),
}


def main() -> None:
    arguments = _parsed()
    checkout = arguments.work / "checkout"
    if not checkout.exists():
        subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", str(ROOT), str(checkout)], check=True)
    os.chdir(checkout)
    os.environ["PYTHONPATH"] = str(checkout)  # before the installed packages
    limits = {name: _seconds_unbroken(name, ROOMS[name], arguments.work) for name in arguments.rooms}
    with use_db(str(arguments.work / "mutants.sqlite"), WorkDB.Mode.create) as db:
        if not db.num_work_items:
            init([path for name in arguments.rooms for path in _sources(ROOMS[name])], db, {})
        chosen = _sample(db, arguments.count, arguments.seed)
        done = {job for job, _ in db.results}
        for place, item in enumerate(chosen, 1):
            if item.job_id not in done:
                db.set_result(item.job_id, _tried(item, limits))
            result = dict(db.results)[item.job_id]
            print(f"{place}/{len(chosen)} {_place(item)}: {result.test_outcome.value}", flush=True)
        _report(chosen, db)


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200, help="mutants in the sample")
    parser.add_argument("--seed", type=int, default=1, help="of the sample")
    parser.add_argument("--rooms", nargs="+", choices=ROOMS, default=list(ROOMS))
    parser.add_argument("--work", type=Path, default=DEFAULT_WORK, help="folder for the broken copy and the results")
    arguments = parser.parse_args()
    arguments.work = arguments.work.resolve()
    arguments.work.mkdir(parents=True, exist_ok=True)
    return arguments


def _sources(room: Room) -> list[Path]:
    return sorted(path for pattern in room.sources for path in Path().glob(pattern) if path.name != "__init__.py")


def _commands(room: Room) -> Iterator[str]:
    for tests in (room.quick, room.thorough):
        if tests:
            yield f"{shlex.quote(sys.executable)} {PYTEST} {tests}"


def _seconds_unbroken(name: str, room: Room, work: Path) -> list[float]:
    """Three times what each of the room's commands takes on the unbroken sources, seconds; measured once."""
    known = work / f"{name}.json"
    if not known.exists():
        limits = []
        for command in _commands(room):
            begin = time.monotonic()
            if subprocess.run(shlex.split(command), capture_output=True).returncode:
                sys.exit(f"the tests of {name} fail on unbroken sources: {command}")
            limits.append(3 * (time.monotonic() - begin) + 10)
        known.write_text(json.dumps(limits))
    found: list[float] = json.loads(known.read_text())
    return found


def _sample(db: WorkDB, count: int, seed: int) -> list[WorkItem]:
    items = [item for item in db.work_items if not WITHOUT_EFFECT.match(item.mutations[0].operator_name)]
    items.sort(key=_place)
    return random.Random(seed).sample(items, min(count, len(items)))


def _place(item: WorkItem) -> str:
    mutation = item.mutations[0]
    return f"{mutation.module_path}:{mutation.start_pos[0]}:{mutation.start_pos[1]} {mutation.operator_name}"


def _tried(item: WorkItem, limits: dict[str, list[float]]) -> WorkResult:
    path = item.mutations[0].module_path
    name = next(name for name in limits if path in _sources(ROOMS[name]))
    for command, limit in zip(_commands(ROOMS[name]), limits[name], strict=True):
        result = mutate_and_test(item.mutations, command, limit)
        if result.is_killed or result.worker_outcome is not WorkerOutcome.NORMAL:
            break
    return result


def _report(chosen: list[WorkItem], db: WorkDB) -> None:
    results = dict(db.results)
    survivors = [item for item in chosen if not results[item.job_id].is_killed]
    for item in survivors:
        print(f"\nsurvived: {_place(item)}\n{results[item.job_id].diff}")
    print(f"\n{len(chosen) - len(survivors)} of {len(chosen)} mutants were noticed")


if __name__ == "__main__":
    main()
