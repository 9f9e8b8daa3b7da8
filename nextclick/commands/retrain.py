"""`nextclick retrain`: one retraining, from the log to the decision."""

import signal
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from schemas.decision import Decision
    from schemas.settings import Settings

KEPT = 3
"""Exit code of a run that kept the serving model because the candidate was not better."""

STOPPED = 143
"""Exit code of a run that was stopped by SIGTERM, as a shell would say it."""


def retrain(
    kept_is_done: Annotated[
        bool,
        typer.Option(
            "--kept-is-done",
            help="Exit code 0, not 3, where the serving model was kept: for a job that takes every other code for a "
            "failure.",
        ),
    ] = False,
    refresh: Annotated[
        bool,
        typer.Option(
            "--refresh",
            help="Count the neighbours of the serving model anew on the newest clicks; its network stays. Takes "
            "seconds.",
        ),
    ] = False,
) -> None:
    """Train on the newest clicks, and publish the model if it is better than the one that serves.

    Reads the archive and the clicks topic, judges the candidate on the newest sessions, and records the decision on the
    models topic (`nextclick models story`).

    Exit codes: 0 published (to serve, or as a shadow: NEXTCLICK_RETRAIN_RELEASE), 3 kept the serving model, 1 failed,
    2 wrong usage, 143 stopped; the next run continues. The NEXTCLICK_RETRAIN_… settings say how.

    With --refresh the serving model must have neighbours: vs-knn, stan, or a blend with one of them. Exit codes: 0
    refreshed, 3 kept the serving model because no click is new or the new neighbours are far worse, else as above.
    """
    signal.signal(signal.SIGTERM, _interrupt)  # the first process of a container ignores signals without a handler
    from schemas.settings import load_settings

    settings = load_settings()
    try:
        decision = _refresh(settings) if refresh else _retrain(settings)
    except KeyboardInterrupt:
        typer.echo("refresh stopped" if refresh else "retraining stopped; the next run continues", err=True)
        raise typer.Exit(STOPPED) from None
    typer.echo(f"{decision.outcome}: {decision.reason}")
    if decision.outcome == "kept" and not kept_is_done:
        raise typer.Exit(KEPT)


def _retrain(settings: "Settings") -> "Decision":
    from nextclick.commands.progress import training_bar
    from trainer.retraining.run import retrain

    with training_bar() as advance:
        return retrain(settings, _say, advance)


def _refresh(settings: "Settings") -> "Decision":
    from trainer.retraining.refresh import refresh

    return refresh(settings, _say)


def _say(line: str) -> None:
    typer.echo(line, err=True)


def _interrupt(signal_number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    signal.raise_signal(signal.SIGINT)  # unwinds, also through asyncio: the lease is given back, scratch files go
