"""`nextclick produce`: sends a file of clicks to the clicks topic."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clicklog.reading.form import DEFAULT_FORM, FileForm
from nextclick.commands.click_source import read_file
from nextclick.commands.file_form import takes_file_form
from nextclick.commands.options import read_names
from nextclick.commands.progress import terminal_bar

if TYPE_CHECKING:
    from clicklog.clicks import Clicks

INTERRUPTED = 130


@takes_file_form
def produce(
    file: Annotated[
        Path, typer.Argument(help="A Parquet or CSV file with session_id, item_id, timestamp and optionally split.")
    ],
    rate: Annotated[
        float | None, typer.Option(min=0.001, help="Clicks per second; as fast as possible by default.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Send only these splits, comma separated.")] = None,
    form: FileForm = DEFAULT_FORM,
) -> None:
    """Send the clicks of a file in time order; without timestamps in row order, stamped with the time of sending."""
    import asyncio

    from schemas.settings import load_settings

    settings = load_settings()
    clicks = read_file(file, read_names(split), form=form)
    sent, seconds = asyncio.run(_send(clicks, rate))
    total = len(clicks.frame)
    typer.echo(
        f"sent {sent:,} of {total:,} clicks of {file} to topic {settings.clicks_topic!r} at {settings.broker} in "
        f"{seconds:.1f} s ({sent / seconds:,.0f} clicks/s)" + (": interrupted" if sent < total else "")
    )
    if sent < total:
        raise typer.Exit(INTERRUPTED)


async def _send(clicks: "Clicks", rate: float | None) -> tuple[int, float]:
    import asyncio
    import signal
    import time

    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

    from clicklog.topic_writer import send_clicks
    from schemas.settings import load_settings

    loop, stop = asyncio.get_running_loop(), asyncio.Event()

    def interrupt() -> None:
        stop.set()
        loop.remove_signal_handler(signal.SIGINT)  # a second ctrl-C does not wait for Kafka

    loop.add_signal_handler(signal.SIGINT, interrupt)
    loop.add_signal_handler(signal.SIGTERM, interrupt)
    columns = (TextColumn("sending"), BarColumn(), MofNCompleteColumn(), TextColumn("clicks"), TimeRemainingColumn())
    with terminal_bar(*columns) as bar:
        task = bar.add_task("", total=len(clicks.frame))
        begin = time.monotonic()
        sent = await send_clicks(
            load_settings(),
            clicks.frame,
            rate=rate,
            stop=stop,
            progress=lambda acknowledged: bar.update(task, completed=acknowledged),
        )
    return sent, time.monotonic() - begin
