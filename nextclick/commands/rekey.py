"""`nextclick rekey`: copies a topic to the clicks topic, with the session ids as keys."""

from pathlib import Path
from typing import Annotated

import typer

from nextclick.commands.service import HeartbeatOption, beating, set_on_signals


def rekey(
    source: Annotated[str, typer.Option("--from", help="The topic to read, whose keys are not the session ids.")],
    until_end: Annotated[
        bool, typer.Option("--until-end", help="End at the messages that the topic has now, instead of following it.")
    ] = False,
    heartbeat: HeartbeatOption = None,
) -> None:
    """Copy a topic to NEXTCLICK_CLICKS_TOPIC with the session id of each message as its key, exactly once.

    Runs until it is stopped, and goes on where it ended, also after kill -9. Any number may run: they share the
    partitions. Messages without a readable session id go to the rejected topic.
    """
    import asyncio

    asyncio.run(_rekey(source, until_end, heartbeat))


async def _rekey(source: str, until_end: bool, heartbeat: Path | None) -> None:
    from dataclasses import asdict

    from nextclick.commands.service_log import service_log
    from nextclick.rekey import Rekeyer
    from schemas.settings import load_settings

    settings = load_settings()
    say = service_log(settings, "nextclick.rekey")
    stopped = set_on_signals()
    rekeyer = Rekeyer(settings, source, say)
    say(f"copying topic {source!r} to topic {settings.clicks_topic!r}, keyed by the session")
    async with beating(heartbeat):
        await rekeyer.run(stopped, until_end)
    say(f"copied {rekeyer.done}", **asdict(rekeyer.done))
