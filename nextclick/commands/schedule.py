"""`nextclick schedule`: retraining by a cron expression."""

from typing import Annotated

import typer


def schedule(
    cron: Annotated[str, typer.Option(help="When to retrain, five fields, UTC: '0 3 * * *' is daily at 3.")],
) -> None:
    """Run `nextclick retrain` by a cron expression until stopped, each run as a process of its own.

    In between it does what `nextclick watch` does: promote, drop and roll back by live evidence.
    """
    import signal
    import threading

    from nextclick.retraining.timetable import follow, looking
    from schemas.settings import load_settings

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    follow(cron, stop, typer.echo, looking(load_settings(), typer.echo))
