"""`nextclick models`: list versions and their live figures; publish, promote, roll back."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from modelregistry.models_topic import ModelsTopic
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

    from modelregistry.models_topic import models_state
    from modelregistry.store import BundleStore
    from schemas.settings import load_settings

    settings = load_settings()
    state = asyncio.run(models_state(settings))
    latest = {announcement.version: announcement for announcement in state.history}
    serving, shadow = state.serving, state.shadow
    table = Table(
        "", "version", "announced", "recall@20", "mrr@20", "trained on", title=f"Models {settings.model_name!r}"
    )
    for version in sorted({*latest, *BundleStore(settings.models_uri).versions()}):
        mark = "shadow" if shadow and version == shadow.version else ""
        mark = "serves" if serving and version == serving.version else mark
        table.add_row(mark, version, *_cells(latest.get(version)))
    Console().print(table if table.row_count else f"no model yet at {settings.models_uri}: `nextclick train --publish`")


@models.command()
def publish(
    bundle: Annotated[Path, typer.Argument(help="Directory of a model bundle.")],
    shadow: Annotated[
        bool, typer.Option("--shadow", help="Score it beside the model that serves; its answers go nowhere.")
    ] = False,
) -> None:
    """Put a bundle at the models URI and announce it: the workers serve it from then on."""
    from modelregistry.publishing import publish
    from schemas.settings import load_settings

    settings = load_settings()
    _choose(settings, lambda topic: publish(bundle, topic, settings, shadow=shadow), ends_shadow=not shadow)


@models.command()
def unshadow() -> None:
    """Have no shadow model scored any more."""
    import asyncio

    from modelregistry.models_topic import ModelsTopic
    from schemas.settings import load_settings

    async def end() -> None:
        async with ModelsTopic(load_settings()) as topic:
            await topic.end_shadow()

    asyncio.run(end())
    typer.echo("the workers score no shadow model any more")


@models.command()
def promote(version: Annotated[str, typer.Argument(help="A version at the models URI.")]) -> None:
    """Announce a version that is at the models URI already."""
    from modelregistry.publishing import promote
    from schemas.settings import load_settings

    settings = load_settings()
    _choose(settings, lambda topic: promote(version, topic, settings))


@models.command()
def rollback() -> None:
    """Announce the version that was announced before the one that serves."""
    from modelregistry.publishing import rollback
    from schemas.settings import load_settings

    settings = load_settings()
    _choose(settings, lambda topic: rollback(topic, settings))


def _choose(
    settings: "Settings", announce: "Callable[[ModelsTopic], Awaitable[ModelAnnouncement]]", *, ends_shadow: bool = True
) -> None:
    """Announce the version that a user chose and end the shadow, which must not overrule that choice."""
    import asyncio

    from modelregistry.models_topic import ModelsTopic

    async def run() -> None:
        async with ModelsTopic(settings) as topic:
            announcement = await announce(topic)
            digest = f"{announcement.sha256[:12]}…"
            typer.echo(f"announced {announcement.version} at {announcement.uri} (sha256 {digest})")
            if ends_shadow and (await topic.read()).shadow is not None:
                await topic.end_shadow()
                typer.echo("the shadow model is no longer scored")

    asyncio.run(run())


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
