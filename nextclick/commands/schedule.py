"""`nextclick schedule`: runs retrainings by a cron expression."""

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

    from schemas.settings import load_settings
    from trainer.retraining.live_watch import decided_line, looking
    from trainer.retraining.schedule import run_on_schedule

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    look = looking(load_settings(), lambda decision: typer.echo(decided_line(decision)), typer.echo)
    run_on_schedule(cron, stop, typer.echo, look)
