"""`nextclick schedule`: runs retrainings and refreshes by cron expressions."""

from typing import Annotated

import typer

from nextclick.commands.service import HeartbeatOption, beat


def schedule(
    cron: Annotated[
        str | None,
        typer.Option(help="When to retrain, five fields, UTC: '0 3 * * *' is daily at 3.", show_default=False),
    ] = None,
    refresh: Annotated[
        str | None,
        typer.Option(
            help="When to refresh the neighbours of the serving model: '*/5 * * * *' is every five minutes.",
            show_default=False,
        ),
    ] = None,
    heartbeat: HeartbeatOption = None,
) -> None:
    """Run `nextclick retrain` by a cron expression until stopped, each run as a process of its own.

    With --refresh it also runs `nextclick retrain --refresh`. The two never run at once: a refresh that is due during a
    retraining follows it, once.

    In between it does what `nextclick watch` does: promote, drop and roll back by live evidence.
    """
    if cron is None and refresh is None:
        raise typer.BadParameter("give --cron, --refresh or both", param_hint="--cron")
    import signal
    import threading

    from nextclick.commands.service_log import service_log
    from schemas.settings import load_settings
    from trainer.retraining.live_watch import decided_line, looking
    from trainer.retraining.schedule import run_on_schedule

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    settings = load_settings()
    say = service_log(settings, "nextclick.schedule")
    look = looking(settings, lambda decision: say(decided_line(decision)), say)
    run_on_schedule(cron, stop, say, look, refresh, lambda: None if heartbeat is None else beat(heartbeat))
