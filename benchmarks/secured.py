"""What TLS and a login cost a worker: CPU time per click over a backlog, SASL_SSL against PLAINTEXT, in turn.

    uv run python -m benchmarks.secured --clicks FILE [--model BUNDLE | --items N] [--backlog 60000] [--runs 3]

Two brokers hold the same backlog; the one that is not measured is idle. Measured as in `benchmarks.throughput`.
"""

from statistics import median

from benchmarks.arguments import add_serving, parser_for
from benchmarks.clickload import OPEN_SESSIONS, interleaved
from benchmarks.contestants import machine
from benchmarks.stage import Stage, model_for
from benchmarks.throughput import Reading, measure
from clicklog.click_files import read_click_file
from clicklog.topic_writer import send_clicks
from nextclick.broker import Security


async def main() -> None:
    parser = parser_for(__doc__)
    add_serving(parser)
    parser.add_argument("--backlog", type=int, default=60_000, help="clicks in the backlog")
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()

    clicks = read_click_file(arguments.clicks)
    bundle = model_for(clicks, arguments.model, arguments.items)
    backlog = interleaved(clicks.frame, arguments.backlog, OPEN_SESSIONS)
    heading = machine()
    readings: dict[str, list[Reading]] = {"PLAINTEXT": [], "SASL_SSL": []}
    with Stage() as plain, Stage(Security(tls=True, sasl="scram")) as secured:
        stages = {"PLAINTEXT": plain, "SASL_SSL": secured}
        for stage in stages.values():
            await stage.create_topics(stage.settings())
            await stage.publish(bundle)
            await send_clicks(stage.settings(), backlog)
            await measure(stage, "worker", "warm-up", arguments.backlog)
        for run in range(1, arguments.runs + 1):
            for protocol in sorted(stages, reverse=run % 2 == 0):
                readings[protocol].append(await measure(stages[protocol], "worker", f"run-{run}", arguments.backlog))
    print(f"\n{heading}; {len(bundle.items):,} items, {arguments.backlog:,} clicks, runs: {arguments.runs}")
    print("| | clicks/s | CPU µs/click | of the broker |\n|---|---|---|---|")
    for protocol, rows in readings.items():
        print(
            f"| {protocol} | {median(row.clicks_per_second for row in rows):,.0f} "
            f"| {median(row.cpu_us_per_click for row in rows):.1f} "
            f"| {median(row.broker_cpu_us_per_click for row in rows):.1f} |"
        )
    cost = {protocol: median(row.cpu_us_per_click for row in rows) for protocol, rows in readings.items()}
    print(f"CPU per click, SASL_SSL to PLAINTEXT: {cost['SASL_SSL'] / cost['PLAINTEXT']:.2f}")


if __name__ == "__main__":
    import asyncio

    asyncio.run(main())
