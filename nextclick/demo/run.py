"""Runs the demo in a new directory, stops every process that it started, and removes the directory."""

import asyncio
import logging
import shutil
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from nextclick.broker import LocalBroker
from nextclick.demo.plan import DemoPlan
from nextclick.demo.processes import Child, DemoError, undisturbed
from nextclick.demo.scenario import Scenario
from nextclick.demo.screen import Screen, score_table
from nextclick.demo.traffic import Traffic, simulate
from schemas.settings import Settings


def run_demo(plan: DemoPlan, keep: bool, console: Console) -> None:
    """Run the demo and print its results.

    Args:
        plan: sizes of the run.
        keep: do not delete the directory with Kafka's data, logs, states and models.
        console: where to print.

    Raises:
        BrokerError: Kafka cannot be fetched or does not start.
        DemoError: a process ended early, or clicks were not answered.
    """
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    directory = Path(tempfile.mkdtemp(prefix="nextclick-demo-"))
    broker = LocalBroker(port=0, data=directory / "kafka")
    children: list[Child] = []
    at_once = True
    try:
        with Screen(console) as screen:
            traffic = _open_shop(plan, screen)
            screen.step("Apache Kafka", "fetched at the first run: 44 MB")
            broker.start()
            screen.done(broker.address)
            story = Scenario(plan, _settings(plan, broker, directory), traffic, screen, directory, children)
            asyncio.run(story.play())
            screen.figures = None
            seconds = screen.seconds
        at_once = False
        _print_summary(console, story, traffic, seconds)
    finally:
        with undisturbed():
            _end(broker, children, at_once)
            if keep:
                console.print(f"kept: {directory}", highlight=False, soft_wrap=True)
            else:
                shutil.rmtree(directory, ignore_errors=True)
    _check_answers(story)


def _end(broker: LocalBroker, children: list[Child], at_once: bool) -> None:
    for child in children:
        child.stop(at_once)
    broker.kill() if at_once else broker.stop()


def _check_answers(story: Scenario) -> None:
    missing = story.sent - story.figures.scoreboard.answered
    if missing:
        raise DemoError(
            f"{missing:,} of {story.sent:,} clicks have no answer: run again with --keep and see worker.log"
        )


def _open_shop(plan: DemoPlan, screen: Screen) -> Traffic:
    screen.step("Synthetic shop")
    traffic = simulate(plan)
    screen.done(f"{plan.shop.items:,} items, two days of {plan.sessions:,} visitors each")
    return traffic


def _settings(plan: DemoPlan, broker: LocalBroker, directory: Path) -> Settings:
    """The settings of every process of the demo; the environment and .env files are not read."""
    return Settings.model_construct(
        broker=broker.address,
        partitions=plan.partitions,
        data_dir=directory / "worker",
        models_uri=str(directory / "models"),
        device="cpu",  # a model of this size is fast on a CPU; a GPU only takes longer to start
    )


def _print_summary(console: Console, story: Scenario, traffic: Traffic, seconds: float) -> None:
    figures, board = story.figures, story.figures.scoreboard
    best = traffic.best(clicks=story.flow.sent)
    figures.best_recall, figures.best_mrr = best.recall(), best.mrr()
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="bold", no_wrap=True)
    facts.add_column()
    first = len(traffic.first_day)
    facts.add_row("clicks sent", f"{story.sent:,}: {first:,} of the first day, {story.flow.sent:,} of the second")
    facts.add_row(
        "answered", f"{board.answered:,}, missing {story.sent - board.answered:,}, twice {board.duplicates:,}"
    )
    facts.add_row("latency", f"p50 {board.latency(0.5)} ms, p99 {board.latency(0.99)} ms from click to recommendation")
    swaps = " and ".join(f"{story.swap_ms(number):,} ms" for number in (1, 2))
    facts.add_row("swaps", f"{swaps} from announcement to first recommendation")
    facts.add_row("took", f"{seconds:.0f} s")
    console.print()
    console.print(score_table(figures))
    console.print()
    console.print(facts)
    console.print("\nNext, with clicks of your own (session_id, item_id, timestamp) in a file:")
    for command in NEXT:
        console.print(f"  {command}", style="bold", highlight=False)


NEXT = (
    "nextclick broker & nextclick topics",
    "faust -A worker worker & nextclick produce clicks.parquet",
    "nextclick train --clicks kafka --publish && nextclick models",
)
