"""`nextclick archive`: copies the clicks topic into Parquet files."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nextclick.commands.service import HeartbeatOption, beating, set_on_signals

if TYPE_CHECKING:
    from clicklog.archive.archiver import Archived


def archive(
    once: Annotated[
        bool, typer.Option("--once", help="End at the clicks that the topic has now, instead of following it.")
    ] = False,
    heartbeat: HeartbeatOption = None,
) -> None:
    """Follow the clicks topic into a Parquet dataset at NEXTCLICK_ARCHIVE_URI, exactly once.

    Runs until it is stopped, and goes on where the files end, also after kill -9. Any number may run: they share the
    partitions.
    """
    import asyncio

    asyncio.run(_archive(once, heartbeat))


async def _archive(once: bool, heartbeat: Path | None) -> None:

    from clicklog.archive.archiver import Archiver
    from nextclick.commands.service_log import service_log
    from schemas.settings import load_settings

    settings = load_settings()
    say = service_log(settings, "nextclick.archive")
    stop = set_on_signals()
    archiver = Archiver(
        settings,
        lambda done: say(f"archived so far {_figures(done)}; {done.lag:,} messages wait", **asdict(done)),
    )
    say(f"archiving topic {settings.clicks_topic!r} to {settings.archive_uri}")
    async with beating(heartbeat):
        await archiver.run(stop, once)
    say(f"archived {_figures(archiver.done)}", **asdict(archiver.done))


def _figures(done: "Archived") -> str:
    skipped = f", skipped {done.skipped:,} messages that are no valid click" if done.skipped else ""
    expired = f", deleted {done.expired:,} messages after NEXTCLICK_ARCHIVE_RETENTION" if done.expired else ""
    return f"{done.clicks:,} clicks in {done.files:,} files{skipped}{expired}"
