"""`nextclick archive`: copies the clicks topic into Parquet files."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from clicklog.archive.archiver import Archived


def archive(
    once: Annotated[
        bool, typer.Option("--once", help="End at the clicks that the topic has now, instead of following it.")
    ] = False,
) -> None:
    """Follow the clicks topic into a Parquet dataset at NEXTCLICK_ARCHIVE_URI, exactly once.

    Runs until it is stopped, and goes on where the files end, also after kill -9. Any number may run: they share the
    partitions.
    """
    import asyncio
    import logging

    logging.basicConfig(format="%(levelname)s %(message)s", level=logging.WARNING)
    asyncio.run(_archive(once))


async def _archive(once: bool) -> None:
    import asyncio
    import signal

    from clicklog.archive.archiver import Archiver
    from schemas.settings import load_settings

    settings = load_settings()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    archiver = Archiver(settings, _say)
    typer.echo(f"archiving topic {settings.clicks_topic!r} to {settings.archive_uri}")
    await archiver.run(stop, once)
    typer.echo(f"archived {_figures(archiver.done)}")


def _say(done: "Archived") -> None:
    typer.echo(f"archived so far {_figures(done)}; {done.lag:,} messages wait")


def _figures(done: "Archived") -> str:
    skipped = f", skipped {done.skipped:,} messages that are no valid click" if done.skipped else ""
    expired = f", deleted {done.expired:,} messages after NEXTCLICK_ARCHIVE_RETENTION" if done.expired else ""
    return f"{done.clicks:,} clicks in {done.files:,} files{skipped}{expired}"
