"""`nextclick models`: what is there, what serves, and how it does; publish, promote, roll back."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from schemas.announcement import ModelAnnouncement
    from schemas.settings import Settings

models = typer.Typer(help="Model bundles: list them, publish one, promote a version, roll back.")


@models.callback(invoke_without_command=True)
def list_models(context: typer.Context) -> None:
    """List the versions at the models URI and on the models topic; the one that serves is marked."""
    if context.invoked_subcommand is not None:
        return
    import asyncio

    from rich.console import Console
    from rich.table import Table

    from modelregistry.publishing import models_now, registered
    from schemas.settings import load_settings

    settings = load_settings()
    history, shadow = asyncio.run(models_now(settings))
    latest = {announcement.version: announcement for announcement in history}
    serving = history[-1].version if history else None
    table = Table(
        "", "version", "announced", "recall@20", "mrr@20", "trained on", title=f"Models {settings.model_name!r}"
    )
    for version in sorted({*latest, *registered(settings)}):
        announcement = latest.get(version)
        mark = "serves" if version == serving else "shadow" if shadow and version == shadow.version else ""
        table.add_row(mark, version, *_cells(announcement))
    Console().print(table if table.row_count else f"no model yet at {settings.models_uri}: `nextclick train --publish`")


@models.command()
def publish(
    bundle: Annotated[Path, typer.Argument(help="Directory of a model bundle.")],
    shadow: Annotated[
        bool, typer.Option("--shadow", help="Score it beside the model that serves; its answers go nowhere.")
    ] = False,
) -> None:
    """Put a bundle at the models URI and announce it: the workers serve it from then on."""
    import asyncio

    from modelregistry.publishing import publish_bundle
    from schemas.settings import load_settings

    settings = load_settings()
    _say(asyncio.run(publish_bundle(bundle, settings, shadow=shadow)))
    if not shadow:
        _end_shadow(settings)


@models.command()
def unshadow() -> None:
    """Have no shadow model scored any more."""
    import asyncio

    from modelregistry.publishing import end_shadow
    from schemas.settings import load_settings

    asyncio.run(end_shadow(load_settings()))
    typer.echo("the workers score no shadow model any more")


@models.command()
def promote(version: Annotated[str, typer.Argument(help="A version at the models URI.")]) -> None:
    """Announce a version that is at the models URI already."""
    import asyncio

    from modelregistry.publishing import promote
    from schemas.settings import load_settings

    settings = load_settings()
    _say(asyncio.run(promote(version, settings)))
    _end_shadow(settings)


@models.command()
def rollback() -> None:
    """Announce the version that was announced before the one that serves."""
    import asyncio

    from modelregistry.publishing import rollback
    from schemas.settings import load_settings

    settings = load_settings()
    _say(asyncio.run(rollback(settings)))
    _end_shadow(settings)


def _end_shadow(settings: "Settings") -> None:
    """Somebody chose what serves: a shadow is not to overrule that."""
    import asyncio

    from modelregistry.publishing import end_shadow, models_now

    if asyncio.run(models_now(settings))[1] is not None:
        asyncio.run(end_shadow(settings))
        typer.echo("the shadow model is no longer scored")


def _say(announcement: "ModelAnnouncement") -> None:
    typer.echo(f"announced {announcement.version} at {announcement.uri} (sha256 {announcement.sha256[:12]}…)")


def _cells(announcement: "ModelAnnouncement | None") -> tuple[str, str, str, str]:
    if announcement is None:
        return "never", "", "", ""
    metrics, span = announcement.metrics, announcement.trained_on
    return (
        f"{announcement.announced_at:%Y-%m-%d %H:%M:%S}",
        f"{metrics['recall@20']:.4f}" if "recall@20" in metrics else "",
        f"{metrics['mrr@20']:.4f}" if "mrr@20" in metrics else "",
        f"{span.clicks:,} clicks of {span.source}" if span else "",
    )
