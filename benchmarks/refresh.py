"""Time from the start of a refresh until a worker serves with it, and where the time goes.

    uv run python -m benchmarks.refresh [--clicks 1000000] [--hidden 128] [--runs 3]

A broker, an archive of synthetic clicks, and a worker that serves a model of most of them: STAN, or with --hidden a
blend of it with an untrained GRU4Rec of so many units. Before each run some new clicks are archived. The steps are told
apart by the lines in the logs of both processes.
"""

import asyncio
import os
import re
import time
from pathlib import Path

import polars as pl
import torch

from benchmarks.archive import START, synthetic
from benchmarks.arguments import parser_for
from benchmarks.contestants import Contestant, machine
from benchmarks.stage import Stage
from clicklog.archive.archiver import Archiver
from clicklog.clicks import Clicks
from clicklog.sessions import cut_by_silence
from clicklog.topic_writer import send_clicks
from rankers.blend.model import Blend
from rankers.bundle import Bundle
from rankers.families import network_family_of
from schemas.durations import milliseconds
from schemas.settings import Settings
from trainer.presets import FAMILY_DEFAULTS
from trainer.train import train

NEW = 20_000
"""Clicks that are new at each refresh: 67 a second for five minutes."""

WAIT_SECONDS = 120.0
READY = re.compile(r": model \S+ is ready: .* in ([0-9.]+) s")


async def archived(settings: Settings, frame: pl.DataFrame) -> None:
    """Send clicks to the topic, and move them into the archive."""
    await send_clicks(settings, frame)
    await Archiver(settings).run(asyncio.Event(), once=True)


def model_of(frame: pl.DataFrame, hidden: int, settings: Settings) -> Bundle:
    """STAN of these clicks, or a blend of it."""
    torch.set_num_threads(1)
    sessions = cut_by_silence(frame, milliseconds(settings.session_gap))
    stan = train(Clicks(sessions, "synthetic clicks"), FAMILY_DEFAULTS["stan"]).bundle
    if not hidden:
        return stan
    network = network_family_of("gru4rec").untrained({"items": len(stan.items), "hidden": hidden}).eval()
    blend = Blend("gru4rec", network, list(stan.items.ids), "stan", stan.model, 0.3, 1.0)
    return Bundle(stan.version, blend, stan.items, "blend", trained_on=stan.trained_on)


def wait_until_ready(version: str, worker: Contestant) -> None:
    """Wait until the worker serves this version."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not re.search(rf": model {version} is ready", worker.log.read_text(errors="replace")):
        worker.check()
        if time.monotonic() > deadline:
            raise worker.failure(f"{version} is not ready")
        time.sleep(0.01)


def refresh_once(stage: Stage, options: dict[str, str], worker: Contestant, run: int) -> dict[str, float]:
    """Seconds of each step of one refresh, and in all."""
    before = len(READY.findall(worker.log.read_text(errors="replace")))
    times = [time.monotonic()]
    with stage.running("refresh", **(options | {"data_dir": f"data-{run}"})) as refresh:
        for said in (r" clicks\n", r"\n(serving|too few) "):  # the clicks were read; the neighbours were compared
            while not re.search(said, refresh.log.read_text(errors="replace")):
                if refresh.process.poll() or time.monotonic() - times[0] > WAIT_SECONDS:
                    raise refresh.failure(f"no {said!r} in its log")
                time.sleep(0.005)
            times.append(time.monotonic())
        while len(ready := READY.findall(worker.log.read_text(errors="replace"))) == before:
            worker.check()
            if refresh.process.poll() or time.monotonic() - times[0] > WAIT_SECONDS:
                raise refresh.failure("the worker does not serve it")
            time.sleep(0.005)
        times.append(time.monotonic())
        refresh.process.wait(WAIT_SECONDS)
    taken_up = float(ready[-1])
    return {
        "start, lease, serving model, clicks read": times[1] - times[0],
        "compared with the serving model": times[2] - times[1],
        "counted, written, checked, stored, announced": times[3] - times[2] - taken_up,
        "fetched and loaded by the worker": taken_up,
        "in all": times[3] - times[0],
    }


def measure(clicks: int, hidden: int, runs: int) -> list[dict[str, float]]:
    """Seconds of each step by run."""
    with Stage() as stage:
        archive = str(Path(stage.settings().models_uri).parent / "archive")
        options = {"app_id": "refresh", "archive_uri": archive, "session_gap": "30m"}
        settings = stage.settings(**options)
        asyncio.run(stage.create_topics(settings))
        total = clicks + runs * NEW
        shift = time.time_ns() // 1_000_000 - START - total * 10
        frame = synthetic(total, sessions=total).with_columns(pl.col("timestamp") + shift)
        asyncio.run(archived(settings, frame.head(clicks)))
        bundle = model_of(frame.head(clicks), hidden, settings)
        asyncio.run(stage.publish(bundle))
        found = []
        with stage.running("worker", **options) as worker:
            wait_until_ready(bundle.version, worker)
            for run in range(runs):
                asyncio.run(archived(settings, frame.slice(clicks + run * NEW, NEW)))
                found.append(refresh_once(stage, options, worker, run))
        return found


def main() -> None:
    """The command line."""
    parser = parser_for(__doc__)
    parser.add_argument("--clicks", type=int, default=1_000_000, help="in the archive")
    parser.add_argument("--hidden", type=int, default=0, help="units of the blend's network; 0: no network")
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    heading = machine()
    found = measure(arguments.clicks, arguments.hidden, arguments.runs)
    print(f"{heading}; {arguments.clicks:,} clicks")
    print("| step | seconds, by run |\n|---|---|")
    for step in found[0]:
        print(f"| {step} | {' · '.join(f'{run[step]:.1f}' for run in found)} |")


if __name__ == "__main__":
    main()
