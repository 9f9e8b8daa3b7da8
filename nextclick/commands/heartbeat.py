"""The heartbeat file of commands that run as a service, for a liveness probe."""

from pathlib import Path
from typing import Annotated

import typer

BEAT_SECONDS = 10.0
"""Time between two updates of the heartbeat file."""

HeartbeatOption = Annotated[
    Path | None,
    typer.Option(
        help="A file whose time is set anew every 10 seconds while the program's event loop runs, also while no broker "
        "answers: for a liveness probe."
    ),
]


async def beat(heartbeat: Path) -> None:
    """Set the time of a file anew, for as long as this runs."""
    import asyncio

    while True:
        try:
            heartbeat.touch()
        except OSError as error:
            typer.echo(f"--heartbeat {heartbeat} cannot be written: {error.strerror}", err=True)
        await asyncio.sleep(BEAT_SECONDS)
