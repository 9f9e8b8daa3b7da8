"""`nextclick watch`: promote, drop and roll back by live evidence."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from schemas.decision import Decision


def watch(
    once: Annotated[bool, typer.Option("--once", help="Look once, for a CronJob; by default every minute.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON object per line and decision.")] = False,
) -> None:
    """Follow how model and shadow do on the same live clicks, and act on it.

    A shadow that is surely better is promoted, one that is not is dropped; the model that served before a promotion is
    scored on beside the new one, and comes back if it is surely better. Each decision is recorded on the models topic
    (`nextclick models story`). The NEXTCLICK_LIVE_… settings say how much evidence it takes. `nextclick schedule` does
    the same between retrainings.
    """
    import signal
    import threading

    from schemas.settings import load_settings
    from trainer.retraining.live_watch import LOOK_SECONDS, decided_line, looking
    from trainer.retraining.shadow_trial import decide

    settings = load_settings()

    def show(decision: "Decision") -> None:
        typer.echo(decision.model_dump_json() if json else decided_line(decision))

    if once:
        decision = decide(settings)
        if decision is not None:
            show(decision)
        elif not json:
            typer.echo("nothing to decide yet")
        return
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    look = looking(settings, show, lambda line: typer.echo(line, err=json))
    while not stop.is_set():
        look()
        stop.wait(LOOK_SECONDS)
