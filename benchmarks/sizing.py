"""What a deployment needs: clicks/s per core by catalogue, traffic per click, and what stored sessions cost.

    uv run python -m benchmarks.sizing --clicks FILE [--items 2500 37000 …] [--sessions 100000 1000000 …]
        [--load CLICKS/S ITEMS SESSIONS] [--write]

`--write` puts the tables, and the plans that follow from them (`benchmarks.sizing_plan`), into docs/sizing.md. The
weights are random. Each click is of one of 500 open sessions.
"""

import asyncio
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.arguments import parser_for
from benchmarks.clickload import interleaved
from benchmarks.contestants import machine
from benchmarks.recovery import Recovered
from benchmarks.recovery import measure as recover
from benchmarks.sizing_plan import LOADS, Costs, Load, plan
from benchmarks.stage import Stage, model_for
from benchmarks.throughput import Reading, options_of
from benchmarks.throughput import measure as throughput
from clicklog.click_files import read_click_file
from clicklog.clicks import Clicks
from clicklog.topic_writer import send_clicks
from schemas.settings import Settings

PAGE = Path(__file__).parent.parent / "docs" / "sizing.md"
REGION = re.compile(r"(?<=<!-- measured -->\n).*(?=<!-- end -->)", re.DOTALL)

PRODUCTS = 4_000_000_000
"""The backlog has so many clicks that clicks times items is about this."""

FEWEST, MOST = 2_000, 150_000


@dataclass(frozen=True)
class Served:
    """A worker's backlog with one catalogue.

    Attributes:
        items: in the catalogue.
        reading: speed, CPU time and memory.
        bytes_per_click: topic (clicks, recommendations, changelog) → bytes of its log per click.
    """

    items: int
    reading: Reading
    bytes_per_click: dict[str, float]


async def serve(clicks: Clicks, items: int) -> Served:
    """Let a worker answer a backlog."""
    count = min(max(PRODUCTS // items, FEWEST), MOST)
    bundle = model_for(clicks, None, items)
    with Stage() as stage:
        await stage.create_topics(stage.settings())
        await stage.publish(bundle)
        await send_clicks(stage.settings(), interleaved(clicks.frame, count))
        reading = await throughput(stage, "worker", "run", count)
        return Served(items, reading, _bytes_per_click(stage, stage.settings(**options_of("worker", "run")), count))


def _bytes_per_click(stage: Stage, settings: Settings, count: int) -> dict[str, float]:
    topics = {
        "clicks": settings.clicks_topic,
        "recommendations": settings.recommendations_topic,
        "changelog": settings.changelog_topic,
    }
    return {name: stage.topic_bytes(topic) / count for name, topic in topics.items()}


def tables(served: list[Served], recovered: list[Recovered], loads: Sequence[Load], heading: str) -> str:
    """The measured tables in Markdown, and a plan for each load."""
    traffic = served[0].bytes_per_click
    costs = Costs.of(
        [(s.items, s.reading.cpu_us_per_click, s.reading.peak_memory_mb) for s in served], traffic, recovered
    )
    return "\n".join([
        f"Measured: {heading}; the broker and the load are on the same cores.\n",
        "| items | clicks/s of one worker | CPU µs per click | clicks/s per core | memory of the worker, MB |",
        "|---|---|---|---|---|",
        *(
            f"| {s.items:,} | {s.reading.clicks_per_second:,.0f} | {s.reading.cpu_us_per_click:,.0f} "
            f"| {1e6 / s.reading.cpu_us_per_click:,.0f} | {s.reading.peak_memory_mb:,.0f} |"
            for s in served
        ),
        "\n| topic | bytes per click, as stored by one broker |",
        "|---|---|",
        *(f"| {topic} | {size:,.0f} |" for topic, size in traffic.items()),
        "\n| sessions | RocksDB, bytes per session | changelog, bytes per session "
        "| start with an empty disk, s | with its disk, s | memory, MB | with its disk, MB |",
        "|---|---|---|---|---|---|---|",
        *(
            f"| {r.sessions:,} | {r.store_bytes / r.sessions:,.0f} | {r.changelog_bytes / r.sessions:,.0f} "
            f"| {r.starts[0].seconds:.1f} | {r.starts[1].seconds:.1f} "
            f"| {r.starts[0].peak_memory_mb:,.0f} | {r.starts[1].peak_memory_mb:,.0f} |"
            for r in recovered
        ),
        *(f"\n{plan(load, costs)}" for load in loads),
        "",
    ])  # fmt: skip


async def main() -> None:
    parser = parser_for(__doc__)
    parser.add_argument("--clicks", type=Path, required=True, help="file of clicks to make the load from")
    parser.add_argument("--items", type=int, nargs="+", default=[2_500, 37_000, 100_000, 1_000_000])
    parser.add_argument("--sessions", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument(
        "--load", type=int, nargs=3, metavar=("CLICKS/S", "ITEMS", "SESSIONS"), help="plan for this shop too"
    )
    parser.add_argument("--write", action="store_true", help=f"write the tables into docs/{PAGE.name}")
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    heading = machine()
    clicks = read_click_file(arguments.clicks)
    served = [await serve(clicks, items) for items in sorted(arguments.items)]
    recovered = [await recover(sessions, restarts=1, seconds=1200) for sessions in sorted(arguments.sessions)]
    loads = [*LOADS, Load(*arguments.load)] if arguments.load else LOADS
    found = tables(served, recovered, loads, heading)
    print(found)
    if arguments.write:
        PAGE.write_text(REGION.sub(lambda _: found, PAGE.read_text()))


if __name__ == "__main__":
    asyncio.run(main())
