"""Publishing: put a bundle into the store and its announcement on the models topic. A promotion announces a version
that is already in the store.

Before a bundle is announced, its files are read and their digests checked, and whether sessions store as many items as
the model reads. That the files fit together is checked where a model is loaded: by each worker, which refuses a bundle
that does not fit and serves the previous model on. Every change is recorded with who made it and why.
"""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from modelregistry.change import Author
from modelregistry.models_topic import ModelsTopic
from modelregistry.session_history import check_session_history
from modelregistry.store import BundleStore
from rankers.bundle_files import BundleFiles, not_readable, read_files, refresh_of
from schemas.announcement import ModelAnnouncement
from schemas.decision import Decision
from schemas.settings import Settings


async def publish_bundle(
    directory: Path, settings: Settings, *, shadow: bool = False, author: Author | None = None
) -> ModelAnnouncement:
    """`publish` over a new connection to the models topic.

    Raises:
        BundleError: as `publish`.
        BrokerError, TopicError: the announcement cannot be sent. If connecting fails, nothing is stored.
    """
    async with ModelsTopic(settings) as topic:
        return await publish(directory, topic, settings, shadow=shadow, author=author)


async def publish(
    directory: Path,
    topic: ModelsTopic,
    settings: Settings,
    *,
    shadow: bool = False,
    author: Author | None = None,
    decision: Decision | None = None,
) -> ModelAnnouncement:
    """Copy a bundle to the models URI under its version, announce it to the workers, and record why.

    Args:
        directory: of the bundle.
        topic: entered.
        settings: the models URI and the model name.
        shadow: workers score it next to the serving model, instead of serving it.
        author: who publishes it, and why; None: this user.
        decision: the record of a retraining, instead of one about the author.

    Raises:
        BundleError: the bundle is damaged or reads more of a session than is stored, the version exists with other
            content, or the store is not writable.
        BrokerError: the announcement cannot be sent.
    """
    announcement = await stored_announcement(directory, settings)
    if decision is None:
        outcome: Literal["shadowed", "published"] = "shadowed" if shadow else "published"
        decision = await _decision(outcome, announcement, topic, author)
    if shadow:
        await topic.score_shadow(announcement, "challenger", decision)
    else:
        await topic.announce(announcement, decision)
    return announcement


async def promote(
    version: str, topic: ModelsTopic, settings: Settings, author: Author | None = None
) -> ModelAnnouncement:
    """Announce a version that is at the models URI, and record why.

    Raises:
        BundleError: it is not there, is damaged, or reads more of a session than is stored.
        BrokerError: the announcement cannot be sent.
    """
    announcement = await checked_announcement(version, settings)
    await topic.announce(announcement, await _decision("promoted", announcement, topic, author))
    return announcement


async def end_shadow(topic: ModelsTopic, settings: Settings, author: Author) -> str | None:
    """Stop scoring the shadow, and record why.

    Returns:
        The version that was scored; None if there was none.

    Raises:
        BrokerError: the models topic cannot be read or written.
    """
    state = await topic.read()
    if state.shadow is None:
        return None
    shadow, serving = state.shadow.version, state.serving.version if state.serving else None
    await topic.end_shadow(
        author.decision(settings.model_name, "dropped", shadow, serving, "it is no longer scored as a shadow")
    )
    return shadow


async def _decision(
    outcome: Literal["published", "promoted", "shadowed"],
    announcement: ModelAnnouncement,
    topic: ModelsTopic,
    author: Author | None,
) -> Decision:
    serving = (await topic.read()).serving
    return (author or Author()).decision(
        announcement.name,
        outcome,
        announcement.version,
        serving.version if serving else None,
        f"{outcome} by hand",
        trained_on=announcement.trained_on,
    )


async def stored_announcement(directory: Path, settings: Settings) -> ModelAnnouncement:
    """Copy a bundle to the models URI under its version, and make its announcement without sending it.

    Raises:
        BundleError: as `publish`.
    """
    return await asyncio.to_thread(_put, directory, settings)


async def checked_announcement(version: str, settings: Settings) -> ModelAnnouncement:
    """Fetch and check a version at the models URI, and make its announcement without sending it.

    Raises:
        BundleError: it is not there, is damaged, or reads more of a session than is stored.
    """
    return await asyncio.to_thread(_check, version, settings)


def _check(version: str, settings: Settings) -> ModelAnnouncement:
    store = BundleStore(settings.models_uri)
    store.check_version(version)
    uri = store.uri_of(version)
    with store.fetched(uri) as directory:
        return _announcement(directory, read_files(directory), uri, settings)


def _put(directory: Path, settings: Settings) -> ModelAnnouncement:
    store, files = BundleStore(settings.models_uri), read_files(directory)
    announcement = _announcement(directory, files, store.uri_of(str(files.about.get("version"))), settings)
    store.put(directory, announcement.version)
    return announcement


def _announcement(directory: Path, files: BundleFiles, uri: str, settings: Settings) -> ModelAnnouncement:
    about = files.about
    try:
        check_session_history(about["needs"]["history"], about["version"], settings)
        return ModelAnnouncement(
            name=settings.model_name,
            version=about["version"],
            uri=uri,
            sha256=files.sha256,
            metrics=about["metrics"],
            trained_on=about["trained_on"],
            announced_at=datetime.now(UTC),
            refresh_of=refresh_of(about),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise not_readable(directory, error) from error
