"""`nextclick replay`: answers clicks of the topic again."""

from typing import Annotated

import typer


def replay(
    name: Annotated[
        str, typer.Option("--name", help="Name of the replay: marks its answers, and ends the name of their topic.")
    ],
    since: Annotated[
        str | None,
        typer.Option(
            help="Only clicks of this last time, such as 3h or 7d, or since a time such as 2026-11-28T14:00Z (UTC "
            "where it has no offset) or 13 digits of milliseconds; all of the topic by default."
        ),
    ] = None,
) -> None:
    """Answer the clicks of the topic again with the serving model, to a topic of their own.

    Sessions begin anew at the first of these clicks. Workers, live figures and the archive notice nothing.
    """
    import asyncio
    import re
    import time

    from nextclick.commands.options import read_begin
    from nextclick.replay import replay as run
    from schemas.errors import SettingsError
    from schemas.names import NAME
    from schemas.settings import load_settings

    settings = load_settings()
    if not re.fullmatch(NAME, name):
        raise SettingsError(f"--name {name!r} is no name of a replay: give letters, digits, '.', '_' and '-'")
    begin = None if since is None else read_begin(since, "--since", round(time.time() * 1000))
    done = asyncio.run(run(settings, name, begin))
    skipped = f", skipped {done.skipped:,} messages that are no valid click" if done.skipped else ""
    typer.echo(
        f"answered {done.answered:,} clicks again by {done.model or 'popularity'}{skipped}; the answers are on topic "
        f"{done.topic!r}, with replay={name!r}"
    )
