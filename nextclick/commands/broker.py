"""`nextclick broker`: a real Apache Kafka on this machine, in the foreground."""

import signal
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

DEFAULT_DIRECTORY = Path(".nextclick/broker")


def broker(
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Where clients connect; 0 takes a free port.")] = 9092,
    data: Annotated[Path, typer.Option(help="Topics, configuration and log; kept for the next start.")] = (
        DEFAULT_DIRECTORY
    ),
) -> None:
    """Run a single Apache Kafka node until ctrl-C; neither Docker nor Java is needed."""
    from rich.console import Console

    from nextclick.broker import LocalBroker
    from schemas.errors import BrokerError

    node = LocalBroker(port, data)
    for name in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, _interrupt)
    try:
        with Console(stderr=True).status("starting Apache Kafka (fetched once, about 44 MB, at the very first start)"):
            node.start()
        typer.echo(
            f"Kafka is ready: set NEXTCLICK_BROKER={node.address} (its data and log are in {data}; ctrl-C stops it)"
        )
        code = node.wait()
        raise BrokerError(f"Kafka ended by itself with exit code {code}: see {node.log}")
    except KeyboardInterrupt:
        pass
    finally:
        node.stop()


def _interrupt(signal_number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    raise KeyboardInterrupt
