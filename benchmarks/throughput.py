"""Clicks per second and CPU time per click over a backlog: nextclick's worker, the plain Faust idiom, a raw Kafka loop.

    uv run python -m benchmarks.throughput --clicks FILE [--model BUNDLE | --items N] [--runs 3] [--json FILE]

All read the same backlog from the same broker, one after the other, `--runs` times in turn. Each is a separate process
and is measured from outside, between the first answer on its output topic and the last, so start-up does not count.
The broker, the contestant and this process share the machine's cores.
"""

import asyncio
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from benchmarks.answers import wait_for_answers
from benchmarks.arguments import add_serving, parser_for
from benchmarks.clickload import OPEN_SESSIONS, interleaved
from benchmarks.contestants import COMMANDS, Contestant, machine
from benchmarks.stage import Stage, model_for
from clicklog.click_files import read_click_file
from clicklog.topic_writer import send_clicks
from messaging.clients import connected, new_consumer
from schemas.settings import Settings

POLL_SECONDS = 0.02
FIRST_ANSWER_SECONDS = 90.0
PLAIN_SHARE = 10
"""The plain Faust idiom is stopped after a tenth of the backlog: all of it would take a hundred seconds."""


@dataclass(frozen=True)
class Reading:
    """The figures of one contestant over the backlog."""

    contestant: str
    clicks_per_second: float
    cpu_us_per_click: float
    broker_cpu_us_per_click: float
    peak_memory_mb: float


async def main() -> None:
    parser = parser_for(__doc__)
    add_serving(parser)
    parser.add_argument("--backlog", type=int, default=200_000, help="clicks in the backlog")
    parser.add_argument("--open-sessions", type=int, default=OPEN_SESSIONS)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=COMMANDS, default=list(COMMANDS))
    parser.add_argument("--json", type=Path, help="write every reading here")
    arguments = parser.parse_args()

    clicks = read_click_file(arguments.clicks)
    bundle = model_for(clicks, arguments.model, arguments.items)
    heading = machine()
    readings: list[Reading] = []
    with Stage() as stage:
        await stage.create_topics(stage.settings())
        await stage.publish(bundle)
        await send_clicks(stage.settings(), interleaved(clicks.frame, arguments.backlog, arguments.open_sessions))
        await measure(stage, "raw-bytes", "warm-up", arguments.backlog)  # warms up the broker's JIT compiler
        for run in range(1, arguments.runs + 1):
            for name in arguments.only:
                wanted = arguments.backlog // (PLAIN_SHARE if name == "plain-faust" else 1)
                reading = await measure(stage, name, f"run-{run}", wanted)
                print(f"run {run}: {name:12} {reading.clicks_per_second:10,.0f} clicks/s", flush=True)
                readings.append(reading)
    print(f"\n{heading}; {len(bundle.items):,} items, {arguments.backlog:,} clicks, runs: {arguments.runs}")
    print(table(readings))
    if arguments.json:
        about = {"machine": heading, "items": len(bundle.items), "backlog": arguments.backlog}
        arguments.json.write_text(json.dumps(about | {"readings": [asdict(row) for row in readings]}, indent=2) + "\n")


def options_of(name: str, run: str) -> dict[str, str]:
    """The settings that give a run of a contestant its own group and topics."""
    return {"app_id": f"{name}-{run}", "recommendations_topic": f"recommendations-{name}-{run}"}


async def measure(stage: Stage, name: str, run: str, wanted: int) -> Reading:
    """Let a contestant answer `wanted` clicks from the beginning of the backlog, with its own topics."""
    options = options_of(name, run)
    settings = stage.settings(**options)
    await stage.create_topics(settings)
    with stage.running(name, **options) as contestant:
        return await watch(stage, settings, contestant, wanted)


async def watch(stage: Stage, settings: Settings, contestant: Contestant, wanted: int) -> Reading:
    """Measure wall and CPU time between the first answer and the last."""
    async with connected(new_consumer(settings, "benchmark"), settings) as consumer:

        async def answers(at_least: int, seconds: float) -> int:
            return await wait_for_answers(consumer, settings, contestant, at_least, seconds, POLL_SECONDS)

        first, at_first = await answers(1, FIRST_ANSWER_SECONDS), clocks(stage, contestant)
        last, at_last = await answers(wanted, 60 + wanted / 500), clocks(stage, contestant)
    seconds, cpu, broker_cpu = (after - before for after, before in zip(at_last, at_first, strict=True))
    count = last - first
    return Reading(
        contestant.name, count / seconds, cpu / count * 1e6, broker_cpu / count * 1e6, contestant.peak_memory() / 1e6
    )


def clocks(stage: Stage, contestant: Contestant) -> tuple[float, float, float]:
    """The time now, and the CPU time so far of the contestant and of the broker, in seconds."""
    return time.monotonic(), contestant.cpu_seconds(), stage.broker_cpu_seconds()


def table(readings: list[Reading]) -> str:
    """Medians with the smallest and largest, and the medians' ratios to the two alternatives."""
    lines = [
        "| | clicks/s | CPU µs/click | of the broker | peak MB | clicks/s to plain · json · bytes | CPU to plain |",
        "|---|---|---|---|---|---|---|",
    ]
    rows = {row.contestant: [r for r in readings if r.contestant == row.contestant] for row in readings}
    rates = {name: median(r.clicks_per_second for r in group) for name, group in rows.items()}
    costs = {name: median(r.cpu_us_per_click for r in group) for name, group in rows.items()}
    for name, group in rows.items():
        lines.append(
            f"| {name} | {spread([r.clicks_per_second for r in group])} "
            f"| {spread([r.cpu_us_per_click for r in group], 1)} "
            f"| {spread([r.broker_cpu_us_per_click for r in group], 1)} "
            f"| {max(r.peak_memory_mb for r in group):,.0f} "
            f"| {ratio(rates, name, 'plain-faust')} · {ratio(rates, name, 'raw-json')} "
            f"· {ratio(rates, name, 'raw-bytes')} "
            f"| {ratio(costs, name, 'plain-faust')} |"
        )
    return "\n".join(lines)


def spread(values: list[float], digits: int = 0) -> str:
    """The median, and in brackets the smallest and the largest value."""
    return f"{median(values):,.{digits}f} ({min(values):,.{digits}f}–{max(values):,.{digits}f})"


def ratio(values: dict[str, float], name: str, to: str) -> str:
    return f"{values[name] / values[to]:.2f}" if to in values else "–"


if __name__ == "__main__":
    asyncio.run(main())
