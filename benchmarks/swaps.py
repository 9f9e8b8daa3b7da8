"""Swaps between models of any families under a constant load: latency around them, clicks without and with two answers.

    uv run python -m benchmarks.swaps --clicks FILE --models BUNDLE BUNDLE … [--rate 1000] [--rounds 1]

The models are announced in turn, the first one again at the end of each round, while clicks flow.
"""

import asyncio
import time
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.arguments import parser_for
from benchmarks.clickload import interleaved
from benchmarks.contestants import Contestant, machine
from benchmarks.openloop import Load, LoadGenerator
from benchmarks.stage import Stage
from clicklog.click_files import read_click_file
from modelregistry.models_topic import ModelsTopic
from modelregistry.publishing import promote
from rankers.bundle import read_bundle
from schemas.announcement import ModelAnnouncement
from schemas.settings import Settings

SWAP_LOAD_SECONDS = 40
SWAP_AT_SECONDS = 20
WINDOW_SECONDS = 10


@dataclass(frozen=True)
class Swap:
    """p99 in the 10 s around the first answer of another model version, and in the 10 s before them; ms.

    Attributes:
        to: the family that was swapped in.
        took: ms from the announcement to that first answer.
        missing: clicks without an answer.
        twice: answers beyond the first of a click.
    """

    rate: float
    to: str
    took: float
    around: float
    before: float
    worst_around: float
    missing: int
    twice: int


@dataclass
class Runner:
    """A contestant and its load generator."""

    contestant: Contestant
    generator: LoadGenerator
    clicks: pl.DataFrame
    sent: int = 0
    cpu_seconds: float = 0.0  # of the contestant, while it had the load

    async def run(self, rate: float, seconds: float) -> Load:
        self.contestant.check()
        before = self.contestant.cpu_seconds()
        piece = self.clicks[self.sent : self.sent + round(rate * seconds)]
        self.sent += len(piece)
        load = await self.generator.run(piece, rate)
        self.cpu_seconds += self.contestant.cpu_seconds() - before
        return load


async def main() -> None:
    arguments = read_arguments()
    clicks = read_click_file(arguments.clicks)
    bundles = [read_bundle(model) for model in arguments.models]
    turns = [*bundles[1:], bundles[0]] * arguments.rounds
    total = round(len(turns) * SWAP_LOAD_SECONDS * arguments.rate) + 6000
    options = {"app_id": "worker"}
    with Stage() as stage:
        await stage.create_topics(stage.settings(**options))
        for bundle in reversed(bundles):  # the first one serves first
            await stage.publish(bundle)
        with stage.running("worker", **options) as worker:
            async with LoadGenerator(stage.settings(**options)) as generator:
                runner = Runner(worker, generator, interleaved(clicks.frame, total))
                await runner.run(200, 5)  # until it has joined its group
                await runner.run(arguments.rate, 5)
                swaps = [await swap(runner, stage, one.version, one.family, arguments.rate) for one in turns]
    print(f"{machine()}; {', '.join(f'{one.family} of {len(one.items):,} items' for one in bundles)}\n")
    print(swap_table(swaps))


def read_arguments() -> Namespace:
    parser = parser_for(__doc__)
    parser.add_argument("--clicks", type=Path, required=True, help="file of clicks to make the load from")
    parser.add_argument("--models", type=Path, nargs="+", required=True, help="bundles; the first one serves first")
    parser.add_argument("--rate", type=float, default=1000.0, help="clicks per second")
    parser.add_argument("--rounds", type=int, default=1)
    return parser.parse_args()


async def swap(runner: Runner, stage: Stage, version: str, to: str, rate: float) -> Swap:
    """Announce another version while clicks flow."""

    async def announce() -> float:
        """The time of the announcement, monotonic clock."""
        await asyncio.sleep(SWAP_AT_SECONDS)
        announcement = await asyncio.to_thread(lambda: asyncio.run(promoted(version, stage.settings())))
        return time.monotonic() - (time.time() - announcement.announced_at.timestamp())

    announcing = asyncio.create_task(announce())
    load = await runner.run(rate, SWAP_LOAD_SECONDS)
    announced = await announcing
    if version not in load.versions:
        raise runner.contestant.failure(f"never answered with model {version}")
    took = (float(load.answered[load.versions[version]]) - announced) * 1000
    begin = load.due[load.versions[version]] - WINDOW_SECONDS / 2
    around = load.latencies[(load.due >= begin) & (load.due < begin + WINDOW_SECONDS)]
    before = load.latencies[(load.due >= begin - WINDOW_SECONDS) & (load.due < begin)]
    return Swap(
        rate=rate,
        to=to,
        took=took,
        around=percentiles(around)[1],
        before=percentiles(before)[1],
        worst_around=float(around.max()),
        missing=int(np.isinf(load.latencies).sum()),
        twice=load.twice,
    )


async def promoted(version: str, settings: Settings) -> ModelAnnouncement:
    async with ModelsTopic(settings) as topic:
        return await promote(version, topic, settings)


def percentiles(values: np.ndarray) -> tuple[float, float]:
    """The 50th and the 99th percentile, each a measured value."""
    p50, p99 = np.percentile(values, [50, 99], method="higher")
    return float(p50), float(p99)


def swap_table(swaps: list[Swap]) -> str:
    lines = [
        "| swapped in | after ms | p99 ms in the 10 s around | before | ratio | worst around | missing | twice |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {one.to} at {one.rate:,.0f}/s | {one.took:.0f} | {one.around:.1f} | {one.before:.1f} "
        f"| {one.around / one.before:.2f} | {one.worst_around:.1f} | {one.missing} | {one.twice} |"
        for one in swaps
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    asyncio.run(main())
