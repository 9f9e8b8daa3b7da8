"""`nextclick rekey`: copies a topic to the clicks topic, with the session ids as keys."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from nextclick.rekeyed_batch import Rekeyed


def rekey(
    source: Annotated[str, typer.Option("--from", help="The topic to read, whose keys are not the session ids.")],
    until_end: Annotated[
        bool, typer.Option("--until-end", help="End at the messages that the topic has now, instead of following it.")
    ] = False,
) -> None:
    """Copy a topic to NEXTCLICK_CLICKS_TOPIC with the session id of each message as its key, exactly once.

    Runs until it is stopped, and goes on where it ended, also after kill -9. Any number may run: they share the
    partitions. Messages without a readable session id go to the rejected topic.
    """
    import asyncio
    import logging

    logging.basicConfig(format="%(levelname)s %(message)s", level=logging.WARNING)
    asyncio.run(_rekey(source, until_end))


async def _rekey(source: str, until_end: bool) -> None:
    import asyncio
    import signal

    from nextclick.rekey import Rekeyer
    from schemas.settings import load_settings

    settings = load_settings()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    rekeyer = Rekeyer(settings, source, lambda done: typer.echo(f"copied so far {_figures(done)}"))
    typer.echo(f"copying topic {source!r} to topic {settings.clicks_topic!r}, keyed by the session")
    await rekeyer.run(stopped, until_end)
    typer.echo(f"copied {_figures(rekeyer.done)}")


def _figures(done: "Rekeyed") -> str:
    passed_over = f", passed over {done.passed_over:,} that are no clicks" if done.passed_over else ""
    return f"{done.written:,} messages, rejected {done.rejected:,} without a session id{passed_over}"
