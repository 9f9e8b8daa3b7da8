"""`nextclick models story` and `nextclick models gc`: what was decided, and what may go."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from schemas.decision import Decision


def story(
    newest: Annotated[int, typer.Option(min=1, help="Only so many of the newest decisions.")] = 20,
) -> None:
    """Every decision of a retraining or by live evidence, with its figures, oldest first."""
    import asyncio

    from modelregistry.decision_log import decisions
    from schemas.settings import load_settings

    settings = load_settings()
    told = asyncio.run(decisions(settings))
    if not told:
        typer.echo(f"no retraining of model {settings.model_name!r} yet: `nextclick retrain`")
    for decision in told[-newest:]:
        typer.echo(_line(decision))


def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be deleted, and delete nothing.")] = False,
) -> None:
    """Delete versions at the models URI that neither serve nor are needed to roll back (NEXTCLICK_MODELS_KEPT)."""
    import asyncio

    from modelregistry.retention import delete, verdicts
    from schemas.settings import load_settings

    settings = load_settings()
    for verdict in asyncio.run(verdicts(settings)):
        if verdict.kept is None and not dry_run:
            delete(verdict.version, settings)
        typer.echo(f"{verdict.version}  {verdict.kept or ('would be deleted' if dry_run else 'deleted')}")


def _line(decision: "Decision") -> str:
    figures = ""
    if decision.judgement is not None:
        figures = "  ".join(f"{name} {value.recall:.4f}" for name, value in decision.judgement.figures.items())
        figures = f"  [Recall@20 {figures}]"
    version = decision.candidate or "-"
    kind = f" {decision.kind}" if decision.kind else ""
    lost = f"  ({len(decision.missing)} holes in the log)" if decision.missing else ""
    return (
        f"{decision.decided_at:%Y-%m-%d %H:%M:%S}  {decision.outcome:11}  {version}{kind}  {decision.reason}{figures}  "
        f"{decision.cpu_seconds:.0f} CPU s{lost}"
    )
