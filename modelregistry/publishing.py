"""Model bundles at the models URI, and their announcements on the models topic."""

import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import fsspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from pydantic import ValidationError

from messaging.clients import connected
from messaging.topics import check_topics
from modelregistry.fetching import fetch
from rankers.bundle import DIGEST, FILES, Bundle, read_bundle, read_digest
from schemas.announcement import ANNOUNCED, SHADOW, ModelAnnouncement
from schemas.errors import BundleError
from schemas.settings import Settings

OBJECT_STORES = ("s3", "gs", "gcs", "abfs", "az")


async def publish_bundle(directory: Path, settings: Settings, *, shadow: bool = False) -> ModelAnnouncement:
    """Put a bundle at the models URI under its version, and announce it to the workers.

    Args:
        directory: of the bundle.
        settings: say where bundles are put and announced.
        shadow: have it scored beside the model that serves, instead of serving it.

    Raises:
        BundleError: the bundle is damaged, another one of its version is there already, or the place takes no files.
        BrokerError, TopicError: there is nobody to tell. Nothing was put anywhere then.
    """
    bundle = read_bundle(directory)
    sha256 = read_digest(directory)
    await check_topics(settings, [settings.models_topic])
    filesystem, root = open_registry(settings)
    place = f"{root}/{bundle.version}"
    try:
        if filesystem.exists(f"{place}/{DIGEST}"):
            there = filesystem.cat_file(f"{place}/{DIGEST}").decode().strip()
            if there != sha256:
                raise BundleError(
                    f"{place} holds another bundle of version {bundle.version} (sha256 {there[:12]}…): versions never "
                    "change; train again to get a new one"
                )
        else:
            ensure_directory(filesystem, place)
            for name in (*FILES, DIGEST):  # the digest last: without it a bundle is not complete
                filesystem.put_file(str(directory / name), f"{place}/{name}")
    except OSError as error:
        raise BundleError(f"cannot put the bundle at {place} (NEXTCLICK_MODELS_URI): {error}") from error
    announcement = _announcement(bundle, sha256, filesystem.unstrip_protocol(place), settings)
    if shadow:
        await score_shadow(announcement, "challenger", settings)
    else:
        await announce(announcement, settings)
    return announcement


async def promote(version: str, settings: Settings) -> ModelAnnouncement:
    """Announce a version that is at the models URI.

    Raises:
        BundleError: it is not there, or damaged.
    """
    announcement = await checked_announcement(version, settings)
    await announce(announcement, settings)
    return announcement


async def checked_announcement(version: str, settings: Settings) -> ModelAnnouncement:
    """The announcement of a version that is at the models URI, fetched and checked; not yet sent.

    Raises:
        BundleError: it is not there, or damaged.
    """
    filesystem, root = open_registry(settings)
    uri = filesystem.unstrip_protocol(f"{root}/{version}")
    if version not in registered(settings):
        known = ", ".join(sorted(registered(settings))) or "none"
        raise BundleError(f"no version {version!r} at NEXTCLICK_MODELS_URI={settings.models_uri}; there is: {known}")
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch) / "bundle"
        fetch(uri, settings.models_uri, directory)
        return _announcement(read_bundle(directory), read_digest(directory), uri, settings)


async def announce(announcement: ModelAnnouncement, settings: Settings) -> None:
    """Have the workers serve a version; what served before is kept from compaction, to roll back to."""
    history = await announcements(settings)
    if history and history[-1].version != announcement.version:
        await _send(settings, f"{settings.model_name}{ANNOUNCED}{history[-1].version}", history[-1])
    await _send(settings, settings.model_name, announcement)


async def rollback(settings: Settings) -> ModelAnnouncement:
    """Announce the version that was announced before the one that serves.

    Raises:
        BundleError: there is none.
    """
    history = await announcements(settings)
    if not history:
        raise BundleError(f"nothing to roll back to: no model {settings.model_name!r} was announced yet")
    serving = history[-1].version
    before = [announcement.version for announcement in history if announcement.version != serving]
    if not before:
        raise BundleError(f"nothing to roll back to: {serving} is the only version announced so far")
    return await promote(before[-1], settings)


async def announcements(settings: Settings) -> list[ModelAnnouncement]:
    """What was announced under this model's name, oldest first; the last one serves."""
    return (await models_now(settings))[0]


async def models_now(settings: Settings) -> tuple[list[ModelAnnouncement], ModelAnnouncement | None]:
    """What was announced, oldest first (the last one serves), and the shadow that is scored beside it, if there is one.

    Raises:
        BrokerError, TopicError: there is nobody to ask.
    """
    return models_of(await models_messages(settings), settings.model_name)


def models_of(
    messages: Sequence[tuple[bytes, bytes | None]], name: str
) -> tuple[list[ModelAnnouncement], ModelAnnouncement | None]:
    """`models_now`, from messages of the models topic."""
    serve, replaced, score = name.encode(), f"{name}{ANNOUNCED}".encode(), f"{name}{SHADOW}".encode()
    history: list[ModelAnnouncement] = []
    shadow: ModelAnnouncement | None = None
    for key, value in messages:
        if key == score:
            shadow = _read(value)
        elif key == serve or key.startswith(replaced):
            announcement = _read(value)
            if announcement is not None and announcement not in history[-1:]:
                history.append(announcement)
    return history, shadow


def _read(value: bytes | None) -> ModelAnnouncement | None:
    try:
        return None if value is None else ModelAnnouncement.model_validate_json(value)
    except ValidationError:
        return None


async def models_messages(settings: Settings) -> list[tuple[bytes, bytes | None]]:
    """Key and value of all that the models topic holds now, oldest first; messages without a key are left out.

    Raises:
        BrokerError, TopicError: there is nobody to ask.
    """
    await check_topics(settings, [settings.models_topic])
    partition = TopicPartition(settings.models_topic, 0)
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.brokers, enable_auto_commit=False)
    found: list[tuple[bytes, bytes | None]] = []
    async with connected(consumer, settings):
        consumer.assign([partition])
        await consumer.seek_to_beginning(partition)
        end = (await consumer.end_offsets([partition]))[partition]
        while await consumer.position(partition) < end:
            records = (await consumer.getmany(partition, timeout_ms=500)).get(partition, [])
            found += [(r.key, r.value) for r in records if r.key is not None]
    return found


def registered(settings: Settings) -> list[str]:
    """The versions that are complete at the models URI, by name."""
    filesystem, root = open_registry(settings)
    if not filesystem.exists(root):
        return []
    names = [entry.rstrip("/").rsplit("/", 1)[-1] for entry in filesystem.ls(root, detail=False)]
    return sorted(name for name in names if filesystem.exists(f"{root}/{name}/{DIGEST}"))


def open_registry(settings: Settings) -> tuple[Any, str]:
    """The file system of the models URI and the place on it.

    Raises:
        BundleError: its scheme is unknown, or its driver is not installed.
    """
    try:
        filesystem, root = fsspec.core.url_to_fs(settings.models_uri)
    except (ValueError, ImportError) as error:
        raise BundleError(f"NEXTCLICK_MODELS_URI={settings.models_uri!r} cannot be used: {error}") from error
    return filesystem, root.rstrip("/")


def ensure_directory(filesystem: Any, place: str) -> None:
    """Make a directory, but not on an object store: it needs none, and would make a bucket of a misspelt name."""
    if filesystem.unstrip_protocol(place).partition("://")[0] not in OBJECT_STORES:
        filesystem.makedirs(place, exist_ok=True)


async def score_shadow(
    announcement: ModelAnnouncement, role: Literal["challenger", "former"], settings: Settings
) -> None:
    """Have a version that is at the models URI scored beside the one that serves."""
    shadow = announcement.model_copy(update={"announced_at": datetime.now(UTC), "role": role})
    await _send(settings, settings.model_name + SHADOW, shadow)


async def end_shadow(settings: Settings) -> None:
    """Have no shadow model scored any more."""
    await check_topics(settings, [settings.models_topic])
    await _send(settings, settings.model_name + SHADOW, None)


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


async def _send(settings: Settings, key: str, announcement: ModelAnnouncement | None) -> None:
    value = None
    if announcement is not None:
        value = announcement.model_dump_json(exclude=None if announcement.role else {"role"}).encode()
    producer = AIOKafkaProducer(bootstrap_servers=settings.brokers, acks="all")
    async with connected(producer, settings):
        await producer.send_and_wait(settings.models_topic, value, key=key.encode(), partition=0)
