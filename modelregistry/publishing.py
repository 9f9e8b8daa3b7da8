"""Publishing: put a bundle into the store and its announcement on the models topic. Promotion and rollback announce a
version that is already in the store.

A bundle is always read and checked before it is announced.
"""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

from modelregistry.models_topic import ModelsTopic
from modelregistry.store import BundleStore
from rankers.bundle import Bundle, read_bundle, read_digest
from schemas.announcement import ModelAnnouncement
from schemas.errors import BundleError
from schemas.settings import Settings


async def publish_bundle(directory: Path, settings: Settings, *, shadow: bool = False) -> ModelAnnouncement:
    """`publish` over a new connection to the models topic.

    Raises:
        BundleError: as `publish`.
        BrokerError, TopicError: the announcement cannot be sent. If connecting fails, nothing is stored.
    """
    async with ModelsTopic(settings) as topic:
        return await publish(directory, topic, settings, shadow=shadow)


async def publish(
    directory: Path, topic: ModelsTopic, settings: Settings, *, shadow: bool = False
) -> ModelAnnouncement:
    """Copy a bundle to the models URI under its version, and announce it to the workers.

    Args:
        directory: of the bundle.
        topic: entered.
        settings: the models URI and the model name.
        shadow: workers score it next to the serving model, instead of serving it.

    Raises:
        BundleError: the bundle is damaged, the version exists with other content, or the store is not writable.
        BrokerError: the announcement cannot be sent.
    """
    announcement = await asyncio.to_thread(_put, directory, settings)
    if shadow:
        await topic.score_shadow(announcement, "challenger")
    else:
        await topic.announce(announcement)
    return announcement


async def promote(version: str, topic: ModelsTopic, settings: Settings) -> ModelAnnouncement:
    """Announce a version that is at the models URI.

    Raises:
        BundleError: it is not there, or damaged.
        BrokerError: the announcement cannot be sent.
    """
    announcement = await checked_announcement(version, settings)
    await topic.announce(announcement)
    return announcement


async def rollback(topic: ModelsTopic, settings: Settings) -> ModelAnnouncement:
    """Announce the version that was announced before the serving one.

    Raises:
        BundleError: there is no such version, or it is no longer at the models URI.
        BrokerError: the models topic cannot be read or written.
    """
    history = (await topic.read()).history
    if not history:
        raise BundleError(f"nothing to roll back to: no model {settings.model_name!r} was announced yet")
    serving = history[-1].version
    before = [announcement.version for announcement in history if announcement.version != serving]
    if not before:
        raise BundleError(f"nothing to roll back to: {serving} is the only version announced so far")
    return await promote(before[-1], topic, settings)


async def checked_announcement(version: str, settings: Settings) -> ModelAnnouncement:
    """Fetch and check a version at the models URI, and make its announcement without sending it.

    Raises:
        BundleError: it is not there, or damaged.
    """
    return await asyncio.to_thread(_check, version, settings)


def _check(version: str, settings: Settings) -> ModelAnnouncement:
    store = BundleStore(settings.models_uri)
    store.check_version(version)
    uri = store.uri_of(version)
    bundle, sha256 = store.read(uri)
    return _announcement(bundle, sha256, uri, settings)


def _put(directory: Path, settings: Settings) -> ModelAnnouncement:
    store = BundleStore(settings.models_uri)
    bundle = read_bundle(directory)
    store.put(directory, bundle.version)
    return _announcement(bundle, read_digest(directory), store.uri_of(bundle.version), settings)


def _announcement(bundle: Bundle, sha256: str, uri: str, settings: Settings) -> ModelAnnouncement:
    return ModelAnnouncement(
        name=settings.model_name,
        version=bundle.version,
        uri=uri,
        sha256=sha256,
        metrics=bundle.metrics,
        trained_on=bundle.trained_on,
        announced_at=datetime.now(UTC),
    )
