"""`nextclick models`: list versions and their live figures; publish, promote, roll back."""

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from modelregistry.change import Author
    from modelregistry.models_state import ModelsState
    from modelregistry.models_topic import ModelsTopic
    from schemas.announcement import ModelAnnouncement
    from schemas.settings import Settings

Why = Annotated[str, typer.Option(help="The reason; `nextclick models story` shows it.", show_default=False)]
By = Annotated[str | None, typer.Option(help="Who decided; user@host by default.", show_default=False)]

OTHER_COLUMNS = 66
"""Characters that the columns beside the version need to be readable."""

models = typer.Typer(help="Model bundles: list them, publish one, promote a version, roll back.")


@models.callback(invoke_without_command=True)
def list_models(
    context: typer.Context,
    json: Annotated[bool, typer.Option("--json", help="One JSON object per line and version.")] = False,
) -> None:
    """List the versions at the models URI and on the models topic; the one that serves is marked.

    Of a network whose neighbours were counted anew, the newest version is listed, and --json lists all.
    """
    if context.invoked_subcommand is not None:
        return
    import asyncio

    from modelregistry.models_topic import models_state
    from modelregistry.rollback import missing_announcement
    from modelregistry.store import BundleStore
    from schemas.settings import load_settings

    settings = load_settings()
    state, store = asyncio.run(models_state(settings)), BundleStore(settings.models_uri)
    if state.serving is None and state.history:
        typer.echo(f"warning: {missing_announcement(state)}", err=True)
    latest = {announcement.version: announcement for announcement in state.history}
    stored = store.versions()
    versions = sorted({*latest, *stored})
    if json:
        for version in versions:
            typer.echo(_json_line(version, _role(version, state), version in stored, latest.get(version)))
    elif versions:
        shown = _without_older_refreshes(versions, state, store.network_versions())
        _print_versions([(_role(version, state), version, latest.get(version)) for version in shown], settings)
        if len(shown) < len(versions):
            typer.echo(f"and {len(versions) - len(shown)} versions with the same networks before a refresh (--json)")
    else:
        typer.echo(f"no model yet at {settings.models_uri}: `nextclick train --publish`")


@models.command()
def publish(
    bundle: Annotated[Path, typer.Argument(help="Directory of a model bundle.")],
    shadow: Annotated[
        bool, typer.Option("--shadow", help="Score it beside the model that serves; its answers go nowhere.")
    ] = False,
    why: Why = "",
    by: By = None,
) -> None:
    """Put a bundle at the models URI and announce it: the workers serve it from then on."""
    from modelregistry.publishing import publish
    from schemas.settings import load_settings

    settings, author = load_settings(), _author(why, by)
    _choose(
        settings,
        author,
        lambda topic: publish(bundle, topic, settings, shadow=shadow, author=author),
        ends_shadow=not shadow,
    )


@models.command()
def unshadow(why: Why = "", by: By = None) -> None:
    """Have no shadow model scored any more."""
    import asyncio

    from modelregistry.models_topic import ModelsTopic
    from modelregistry.publishing import end_shadow
    from schemas.settings import load_settings

    settings, author = load_settings(), _author(why, by)

    async def end() -> str | None:
        async with ModelsTopic(settings) as topic:
            return await end_shadow(topic, settings, author)

    ended = asyncio.run(end())
    typer.echo(f"the workers score {ended} no more" if ended else "there is no shadow model")


@models.command()
def promote(
    version: Annotated[str, typer.Argument(help="A version at the models URI.")], why: Why = "", by: By = None
) -> None:
    """Announce a version that is at the models URI already."""
    from modelregistry.publishing import promote
    from schemas.settings import load_settings

    settings, author = load_settings(), _author(why, by)
    _choose(settings, author, lambda topic: promote(version, topic, settings, author))


@models.command()
def rollback(
    to: Annotated[str | None, typer.Option(help="Go back to this version, at the models URI.")] = None,
    why: Why = "",
    by: By = None,
) -> None:
    """Announce the version that served before. Again: the one before that; never one that was rolled back from.

    Versions with one network, whose neighbours were counted anew, count as one: of the network that served before, the
    newest version is announced. To go back from the last such refresh only, name the version before it by --to.
    """
    from modelregistry.rollback import rollback
    from schemas.settings import load_settings

    settings, author = load_settings(), _author(why, by)

    async def go_back(topic: "ModelsTopic") -> "ModelAnnouncement":
        left = await topic.read()
        announcement = await rollback(topic, settings, to, author)
        refreshed = left.version_before_refresh()
        if to is None and left.serving is not None and refreshed is not None:
            typer.echo(
                f"all versions with the network of {left.serving.version} were left; to go back from the last refresh "
                f"only: `nextclick models rollback --to {refreshed}`"
            )
        return announcement

    _choose(settings, author, go_back)


def _author(why: str, by: str | None) -> "Author":
    from modelregistry.change import Author

    if by is None:
        return Author(why=why)
    if not by.strip():
        raise typer.BadParameter("a name, such as ann@example.com", param_hint="--by")
    return Author(" ".join(by.split()), why)


def _choose(
    settings: "Settings",
    author: "Author",
    announce: "Callable[[ModelsTopic], Awaitable[ModelAnnouncement]]",
    *,
    ends_shadow: bool = True,
) -> None:
    """Announce the version that a user chose and end the shadow, which must not overrule that choice."""
    import asyncio

    from modelregistry.models_topic import ModelsTopic
    from modelregistry.publishing import end_shadow

    async def run() -> None:
        async with ModelsTopic(settings) as topic:
            announcement = await announce(topic)
            typer.echo(f"announced {announcement.version} at {announcement.uri} (sha256 {announcement.sha256})")
            if ends_shadow and (shadow := await end_shadow(topic, settings, author)) is not None:
                typer.echo(f"the shadow model {shadow} is no longer scored")

    asyncio.run(run())


def _role(version: str, state: "ModelsState") -> str:
    if state.serving and version == state.serving.version:
        return "serves"
    if version in state.withdrawn:
        return "rolled back"
    return "shadow" if state.shadow and version == state.shadow.version else ""


def _without_older_refreshes(versions: "list[str]", state: "ModelsState", stored: "Mapping[str, str]") -> "list[str]":
    """Of each network the newest version, and those that serve or are a shadow.

    Args:
        versions: announced or stored.
        state: of the models topic, which has forgotten older refreshes.
        stored: refreshed version → network version, of those stored.
    """
    network_versions = {**stored, **{one.version: one.network_version for one in state.history}}
    newest = {trained: one.version for trained, one in state.newest_by_network_version().items()}
    used = {one.version for one in (state.serving, state.shadow) if one is not None}
    return [
        version
        for version in versions
        if version in used or newest.get(network_versions.get(version, version), version) == version
    ]


def _json_line(version: str, role: str, stored: bool, announcement: "ModelAnnouncement | None") -> str:
    import json

    announced = announcement.model_dump(mode="json", exclude={"name", "version", "role"}) if announcement else {}
    about: dict[str, object] = {"version": version, "role": role or None, "stored": stored, **announced}
    return json.dumps(about, ensure_ascii=False)


def _print_versions(rows: "list[tuple[str, str, ModelAnnouncement | None]]", settings: "Settings") -> None:
    from rich.table import Table

    from nextclick.commands.tables import print_table

    table = Table("", title=f"Models {settings.model_name!r}")
    table.add_column("version", no_wrap=True)  # whole on one line, to be copied
    for column in ("announced", "recall@20", "mrr@20", "trained on"):
        table.add_column(column)
    for role, version, announcement in rows:
        table.add_row(role, version, *_cells(announcement))
    longest = max(len(version) for _, version, _ in rows)
    print_table(table, narrowest=longest + OTHER_COLUMNS)


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
