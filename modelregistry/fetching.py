"""Copying an announced bundle from the models URI to a local directory."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

import fsspec

from rankers.bundle import DIGEST, FILES
from schemas.errors import BundleError


def fetch(uri: str, models_uri: str, directory: Path) -> None:
    """Copy an announced bundle to a local directory; it appears whole or not at all.

    Args:
        uri: where the bundle is: a path or an fsspec URI.
        models_uri: the only place that bundles are taken from.
        directory: where to put it; must not exist.

    Raises:
        BundleError: the URI lies outside the models URI, has an unknown scheme, or a file cannot be fetched.
    """
    filesystem, place = _open(uri)
    allowed_filesystem, allowed = _open(models_uri)
    if type(filesystem) is not type(allowed_filesystem) or not _is_below(place, allowed):
        raise BundleError(f"{uri} lies outside NEXTCLICK_MODELS_URI={models_uri}: publish the bundle there")
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix=".fetching-") as scratch:
        for name in (*FILES, DIGEST):
            try:
                filesystem.get_file(f"{place}/{name}", f"{scratch}/{name}")
            except Exception as error:  # every fsspec backend has exceptions of its own
                raise BundleError(f"cannot fetch {uri}/{name}: {_one_line(error) or type(error).__name__}") from error
        shutil.copytree(scratch, directory)


def _open(uri: str) -> tuple[Any, str]:
    try:
        filesystem, place = fsspec.core.url_to_fs(uri)
    except (ValueError, ImportError) as error:
        raise BundleError(f"cannot fetch from {uri}: {_one_line(error)}") from error
    if "file" in filesystem.protocol:
        place = str(Path(place).resolve())
    return filesystem, place.rstrip("/")


def _is_below(place: str, allowed: str) -> bool:
    return place.startswith(f"{allowed}/") and ".." not in place.split("/")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
