"""`nextclick demo`: the whole system on one machine, with nothing else installed."""

import signal
from types import FrameType
from typing import Annotated

import typer

INTERRUPTED = 130


def demo(
    quick: Annotated[
        bool, typer.Option("--quick", help="A small shop and few clicks: less than a minute instead of two.")
    ] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Keep Kafka's data, the logs and the models.")] = False,
) -> None:
    """Show all of it live: Kafka, a worker, two days of clicks, a model trained and swapped in, then a better one.

    Needs neither Docker nor Java nor a Kafka of yours; the very first run fetches Apache Kafka (44 MB). Everything
    lies in a temporary directory and ends with the demo, also by ctrl-C.
    """
    for name in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, _interrupt)
    try:
        from rich.console import Console

        from nextclick.demo.plan import QUICK, DemoPlan
        from nextclick.demo.run import run_demo

        run_demo(QUICK if quick else DemoPlan(), keep, Console())
    except KeyboardInterrupt:
        typer.echo("nextclick demo: interrupted; all that it had started has ended", err=True)
        raise typer.Exit(INTERRUPTED) from None


def _interrupt(signal_number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    signal.raise_signal(signal.SIGINT)  # the current handler of ctrl-C
