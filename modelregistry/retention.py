"""The registry at the models URI: what may be deleted, the optimiser's state beside a bundle, may it be written.

A version never changes once it is there. Deleting takes the digest first, so that a version that is half gone is no
bundle to anybody.
"""

import contextlib
import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from torch import Tensor

from modelregistry import optimiser_state
from modelregistry.publishing import ensure_directory, models_now, open_registry, registered
from rankers.bundle import DIGEST, FILES
from schemas.errors import BundleError
from schemas.settings import Settings

YOUNG = timedelta(days=1)
"""A version that is younger may be on its way to its announcement."""

OURS = (DIGEST, *FILES, optimiser_state.FILE)


@dataclass(frozen=True)
class Verdict:
    """What is to become of a version.

    Attributes:
        version: at the models URI.
        kept: why it stays; None where it goes.
    """

    version: str
    kept: str | None


def check_writable(settings: Settings) -> None:
    """Put a small file at the models URI and take it away: better now than after hours of training.

    Raises:
        BundleError: the place takes no files.
    """
    filesystem, root = open_registry(settings)
    probe = f"{root}/.probe-{secrets.token_hex(6)}"
    try:
        ensure_directory(filesystem, root)
        filesystem.pipe_file(probe, b"may be deleted")
        filesystem.rm_file(probe)
    except Exception as error:  # every fsspec backend has exceptions of its own
        raise BundleError(
            f"the registry at NEXTCLICK_MODELS_URI={settings.models_uri} cannot be written: {_reason(error)}"
        ) from error


def put_optimiser_state(version: str, state: dict[str, Tensor], settings: Settings) -> None:
    """Keep the optimiser's state for the next warm start.

    Raises:
        BundleError: the place takes no files.
    """
    filesystem, root = open_registry(settings)
    try:
        ensure_directory(filesystem, f"{root}/{version}")
        filesystem.pipe_file(f"{root}/{version}/{optimiser_state.FILE}", optimiser_state.pack(state))
    except Exception as error:
        raise BundleError(f"cannot write to NEXTCLICK_MODELS_URI={settings.models_uri}: {_reason(error)}") from error


def get_optimiser_state(version: str, settings: Settings) -> dict[str, Tensor] | None:
    """The optimiser's state of a version; None where none was kept.

    Raises:
        BundleError: it is damaged.
    """
    filesystem, root = open_registry(settings)
    place = f"{root}/{version}/{optimiser_state.FILE}"
    try:
        content = filesystem.cat_file(place)
    except Exception:  # not there, or not to be had: a warm start does without
        return None
    return optimiser_state.unpack(content, place)


async def verdicts(settings: Settings, now: datetime | None = None) -> list[Verdict]:
    """Which versions stay, and why.

    These stay: what serves, what is scored as its shadow, what was announced last before it (NEXTCLICK_MODELS_KEPT
    versions, to roll back to), and what is too young to be judged. Directories that hold anything but a bundle are not
    looked at.

    Raises:
        BundleError: the registry cannot be read.
        BrokerError, TopicError: nobody can say what serves; then nothing may be deleted.
    """
    history, shadow = await models_now(settings)
    order = list(dict.fromkeys(announcement.version for announcement in reversed(history)))
    filesystem, root = open_registry(settings)
    moment = now or datetime.now(UTC)
    found = []
    for version in registered(settings):
        place = order.index(version) if version in order else None
        foreign = [name for name in _names(filesystem, f"{root}/{version}") if name not in OURS]
        kept = None
        if place == 0:
            kept = "serves"
        elif shadow is not None and version == shadow.version:
            kept = "is scored as a shadow"
        elif place is not None and place <= settings.models_kept:
            kept = "to roll back to"
        elif foreign:
            kept = f"holds {foreign[0]!r}, which is no part of a bundle"
        elif moment - _written(filesystem, f"{root}/{version}/{DIGEST}") < YOUNG:
            kept = "younger than a day"
        found.append(Verdict(version, kept))
    return found


def delete(version: str, settings: Settings) -> None:
    """Delete a version: its digest first, then the rest.

    Raises:
        BundleError: the place does not let us.
    """
    filesystem, root = open_registry(settings)
    place = f"{root}/{version}"
    try:
        for name in OURS:
            if filesystem.exists(f"{place}/{name}"):
                filesystem.rm_file(f"{place}/{name}")
        if "file" in filesystem.protocol:
            with contextlib.suppress(OSError):
                Path(place).rmdir()
    except Exception as error:
        raise BundleError(f"cannot delete {place} (NEXTCLICK_MODELS_URI): {_reason(error)}") from error


def _names(filesystem: Any, place: str) -> list[str]:
    return [str(entry).rstrip("/").rsplit("/", 1)[-1] for entry in filesystem.ls(place, detail=False)]


def _written(filesystem: Any, path: str) -> datetime:
    try:
        when = filesystem.modified(path)
    except (NotImplementedError, FileNotFoundError):
        when = datetime.fromtimestamp(time.time(), UTC)  # unknown: as if it were new
    return when if when.tzinfo is not None else when.replace(tzinfo=UTC)  # type: ignore[no-any-return]


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
