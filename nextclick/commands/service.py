"""What commands that run as a service share: their end by a signal, and the heartbeat file of a liveness probe."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import asyncio

BEAT_SECONDS = 10.0
"""Time between two updates of the heartbeat file."""

HeartbeatOption = Annotated[
    Path | None,
    typer.Option(
        help="A file whose time is set anew while the program's loop runs, also while no broker answers: for a "
        "liveness probe."
    ),
]


def set_on_signals() -> "asyncio.Event":
    """An event that SIGTERM and SIGINT set, instead of ending the process."""
    import asyncio
    import signal

    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


@contextlib.asynccontextmanager
async def beating(heartbeat: Path | None) -> AsyncIterator[None]:
    """Set the time of a file, if there is one, anew while the block runs."""
    import asyncio

    task = asyncio.create_task(_beat(heartbeat)) if heartbeat is not None else None
    try:
        yield
    finally:
        if task is not None:
            task.cancel()


async def _beat(heartbeat: Path) -> None:
    """Set the time of a file anew, for as long as this runs."""
    import asyncio

    while True:
        beat(heartbeat)
        await asyncio.sleep(BEAT_SECONDS)


def beat(heartbeat: Path) -> None:
    """Set the time of a file to now; if that fails, say so."""
    try:
        heartbeat.touch()
    except OSError as error:
        typer.echo(f"--heartbeat {heartbeat} cannot be written: {error.strerror}", err=True)
