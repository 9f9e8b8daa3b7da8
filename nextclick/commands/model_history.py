"""`nextclick models story` and `nextclick models gc`: past decisions, and deleting old versions."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from schemas.decision import Decision


def story(
    newest: Annotated[int, typer.Option(min=1, help="Only so many of the newest decisions.")] = 20,
    json: Annotated[bool, typer.Option("--json", help="One JSON object per line, as on the models topic.")] = False,
) -> None:
    """Every change of the models with who made it and why, and every decision with its figures, oldest first."""
    import asyncio

    from modelregistry.models_topic import models_state
    from schemas.settings import load_settings

    settings = load_settings()
    decisions = asyncio.run(models_state(settings)).decisions()
    if not decisions and not json:
        typer.echo(f"no model {settings.model_name!r} yet: `nextclick train --publish` or `nextclick retrain`")
    for decision in decisions[-newest:]:
        typer.echo(decision.model_dump_json() if json else _line(decision))


def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be deleted, and delete nothing.")] = False,
) -> None:
    """Delete versions at the models URI that neither serve nor are needed to roll back (NEXTCLICK_MODELS_KEPT)."""
    import asyncio

    from modelregistry.models_topic import models_state
    from modelregistry.retention import verdicts
    from modelregistry.store import BundleStore
    from schemas.settings import load_settings

    settings = load_settings()
    state, store = asyncio.run(models_state(settings)), BundleStore(settings.models_uri)
    for verdict in verdicts(state, store, settings.models_kept):
        if verdict.kept is None and not dry_run:
            store.delete(verdict.version)
        typer.echo(f"{verdict.version}  {verdict.kept or ('would be deleted' if dry_run else 'deleted')}")


def _line(decision: "Decision") -> str:
    figures = ""
    if decision.judgement is not None:
        figures = "  ".join(f"{name} {value.recall:.4f}" for name, value in decision.judgement.figures.items())
        figures = f"  [Recall@20 {figures}]"
    version = decision.candidate or "-"
    kind = f" {decision.kind}" if decision.kind else ""
    lost = f"  ({len(decision.missing)} holes in the log)" if decision.missing else ""
    spent = f"  {decision.cpu_seconds:.0f} CPU s" if decision.cpu_seconds else ""
    by = f"  by {decision.by}" if decision.by else ""
    return (
        f"{decision.decided_at:%Y-%m-%d %H:%M:%S}  {decision.outcome:11}  {version}{kind}  {decision.reason}{figures}"
        f"{spent}{lost}{by}"
    )
