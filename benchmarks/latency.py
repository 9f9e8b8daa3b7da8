"""Latency from click to recommendation against load, open loop, beside a raw Kafka echo; and around a model swap.

    uv run python -m benchmarks.latency --clicks FILE [--model BUNDLE | --items N] [--out docs]

Both processes run all the time. At every rate they get the load in turns, in short slices: other activity on the
machine affects both alike, and neither takes the other's cores. The rates rise until the worker no longer keeps up.
Then another model version is announced a few times under a constant rate. Writes latency.json and latency.png.
"""

import asyncio
import json
from argparse import Namespace
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.arguments import add_serving, parser_for
from benchmarks.clickload import interleaved
from benchmarks.contestants import Contestant, machine
from benchmarks.openloop import Load, LoadGenerator
from benchmarks.stage import Stage, model_for, renamed
from benchmarks.swaps import SWAP_LOAD_SECONDS, Runner, Swap, percentiles, swap, swap_table
from clicklog.click_files import read_click_file
from clicklog.clicks import Clicks
from rankers.bundle import Bundle

RATES = (100, 300, 1000, 2000, 5000, 10_000, 20_000)
SATURATED_MS = 1000.0
"""A median above this means that the queue grows."""


@dataclass(frozen=True)
class Point:
    """One contestant at one rate. Latencies in ms from when a click was due; lateness is the delay in sending."""

    contestant: str
    rate: float
    clicks: int
    unanswered: int
    p50: float
    p99: float
    sending_late_p99: float
    cpu_us_per_click: float
    peak_memory_mb: float

    @property
    def saturated(self) -> bool:
        return self.p50 > SATURATED_MS or self.unanswered > 0


async def main() -> None:
    arguments = read_arguments()
    clicks = read_click_file(arguments.clicks)
    bundle = model_for(clicks, arguments.model, arguments.items)
    heading = f"{machine()}; {len(bundle.items):,} items"
    points, swaps = await measure(arguments, clicks, bundle, renamed(bundle))
    print(f"\n{heading}\n\n{table(points)}\n\n{swap_table(swaps)}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    data = {"machine": heading, "points": [asdict(point) for point in points], "swaps": [asdict(one) for one in swaps]}
    (arguments.out / "latency.json").write_text(json.dumps(data, indent=2) + "\n")
    plot(points, heading, arguments.out / "latency.png")


def read_arguments() -> Namespace:
    parser = parser_for(__doc__)
    add_serving(parser)
    parser.add_argument("--rates", type=float, nargs="*", default=RATES, help="clicks per second")
    parser.add_argument("--seconds", type=float, default=5.0, help="of one slice")
    parser.add_argument("--slices", type=int, default=4, help="of each contestant at each rate")
    parser.add_argument("--swap-rate", type=float, default=1000.0)
    parser.add_argument("--swaps", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("docs"))
    return parser.parse_args()


async def measure(
    arguments: Namespace, clicks: Clicks, bundle: Bundle, other: Bundle
) -> tuple[list[Point], list[Swap]]:
    """Both contestants at every rate, then the worker with `other` and `bundle` announced in turn."""
    with Stage() as stage:
        worker = {"app_id": "worker", "clicks_topic": "clicks-worker", "recommendations_topic": "answers-worker"}
        echo = {"app_id": "echo", "clicks_topic": "clicks-echo", "recommendations_topic": "answers-echo"}
        for options in (worker, echo):
            await stage.create_topics(stage.settings(**options))
        await stage.publish(other)
        await stage.publish(bundle)
        total = round(sum(arguments.rates) * arguments.seconds * arguments.slices)
        total += round(arguments.swaps * SWAP_LOAD_SECONDS * arguments.swap_rate) + 20_000
        with stage.running("worker", **worker) as ours, stage.running("raw-bytes", **echo) as raw:
            async with (
                LoadGenerator(stage.settings(**worker)) as to_ours,
                LoadGenerator(stage.settings(**echo)) as to_raw,
            ):
                runners = [Runner(raw, to_raw, load(clicks, total)), Runner(ours, to_ours, load(clicks, total))]
                for runner in runners:
                    await runner.run(200, 5)  # until both have joined their groups
                    await runner.run(1000, 5)
                points = await climb(runners, arguments.rates, arguments.seconds, arguments.slices)
                swaps = []
                for number in range(arguments.swaps):
                    version = (other, bundle)[number % 2].version
                    swaps.append(await swap(runners[1], stage, version, "the same", arguments.swap_rate))
                return points, swaps


def load(clicks: Clicks, total: int) -> pl.DataFrame:
    return interleaved(clicks.frame, total)


async def climb(runners: list[Runner], rates: list[float], seconds: float, slices: int) -> list[Point]:
    """Measure at rising rates until the worker is saturated."""
    points: list[Point] = []
    for rate in rates:
        loads: dict[str, list[Load]] = {runner.contestant.name: [] for runner in runners}
        before = {runner.contestant.name: runner.cpu_seconds for runner in runners}
        saturated = False
        for _ in range(slices):
            for runner in runners:
                loads[runner.contestant.name].append(await runner.run(rate, seconds))
            saturated = any(np.median(load.latencies) > SATURATED_MS for load in loads["worker"])
            if saturated:
                break
        for runner in runners:
            name = runner.contestant.name
            point = summary(runner.contestant, rate, loads[name], runner.cpu_seconds - before[name])
            print(f"{rate:8,.0f}/s {name:10} p50 {point.p50:8.1f} ms  p99 {point.p99:8.1f} ms", flush=True)
            points.append(point)
        if saturated:
            break
    return points


def summary(contestant: Contestant, rate: float, loads: list[Load], cpu: float) -> Point:
    latencies = np.concatenate([load.latencies for load in loads])
    late = np.concatenate([load.sent - load.due for load in loads]) * 1000
    p50, p99 = percentiles(latencies)
    return Point(
        contestant=contestant.name,
        rate=rate,
        clicks=len(latencies),
        unanswered=int(np.isinf(latencies).sum()),
        p50=p50,
        p99=p99,
        sending_late_p99=percentiles(late)[1],
        cpu_us_per_click=cpu / len(latencies) * 1e6,
        peak_memory_mb=contestant.peak_memory() / 1e6,
    )


def table(points: list[Point]) -> str:
    lines = [
        "| clicks/s | worker p50 · p99 ms | raw echo p50 · p99 ms | p99 to raw | worker CPU µs/click | sending late, p99 ms |",  # noqa: E501
        "|---|---|---|---|---|---|",
    ]
    for ours in points:
        raw = next((p for p in points if p.rate == ours.rate and p.contestant != "worker"), None)
        if ours.contestant == "worker" and raw is not None:
            lines.append(
                f"| {ours.rate:,.0f}{' (saturated)' if ours.saturated else ''} | {ours.p50:.1f} · {ours.p99:.1f} "
                f"| {raw.p50:.1f} · {raw.p99:.1f} | {ours.p99 / raw.p99:.1f} | {ours.cpu_us_per_click:.0f} "
                f"| {ours.sending_late_p99:.1f} |"
            )
    peak = max((point.peak_memory_mb for point in points if point.contestant == "worker"), default=0)
    return "\n".join([*lines, "", f"Peak memory of the worker, the last rate included: {peak:,.0f} MB"])


def plot(points: list[Point], heading: str, path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5))
    for name, colour, label in (("worker", "tab:blue", "worker"), ("raw-bytes", "tab:gray", "raw Kafka echo")):
        mine = [point for point in points if point.contestant == name]
        rates = [point.rate for point in mine]
        axes.plot(rates, [point.p50 for point in mine], "o-", color=colour, label=f"{label}, p50")
        axes.plot(rates, [point.p99 for point in mine], "s--", color=colour, label=f"{label}, p99")
    axes.set(xscale="log", yscale="log", xlabel="clicks per second", ylabel="ms from due to answered")
    axes.set_title(f"Click to recommendation, open loop\n{heading}", fontsize=9)
    axes.grid(which="both", alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    asyncio.run(main())
