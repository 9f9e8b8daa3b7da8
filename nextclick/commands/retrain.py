"""`nextclick retrain`: one retraining, from the log to the decision."""

import typer

KEPT = 3
"""Exit code of a run that kept the serving model because the candidate was not better."""


def retrain() -> None:
    """Train on the newest clicks, and publish the model if it is better than the one that serves.

    Reads the archive and the clicks topic, judges the candidate on the newest sessions, and records the decision on the
    models topic (`nextclick models story`).

    Exit codes: 0 published (to serve, or as a shadow: NEXTCLICK_RETRAIN_RELEASE), 3 kept the serving model, 1 failed,
    2 wrong usage. The NEXTCLICK_RETRAIN_… settings say how.
    """
    from nextclick.commands.progress import training_bar
    from schemas.settings import load_settings
    from trainer.retraining.run import retrain as retrain_once

    settings = load_settings()
    with training_bar() as advance:
        decision = retrain_once(settings, lambda line: typer.echo(line, err=True), advance)
    typer.echo(f"{decision.outcome}: {decision.reason}")
    if decision.outcome == "kept":
        raise typer.Exit(KEPT)
