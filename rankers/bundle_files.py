"""The files of a model bundle: their names, and their digests checked, without loading the model.

This module imports neither torch nor numpy, so that commands which only list, copy and announce bundles start quickly.
`rankers.bundle` describes the format, and loads the model.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rankers import bundle_format_1
from schemas.errors import BundleError, printable
from schemas.names import NAME

FORMAT = 2
"""Format of the bundles that this version writes."""

ABOUT = "bundle.json"
ITEMS = "items.json"
DIGEST = "SHA256"


@dataclass(frozen=True)
class BundleFiles:
    """The files of a bundle in a directory, each with the digest that the bundle states.

    Attributes:
        sha256: of the bundle, 64 hexadecimal digits.
        about: bundle.json, in format 2.
        contents: file name → content of the other files.
    """

    sha256: str
    about: Mapping[str, Any]
    contents: Mapping[str, bytes]


def read_files(directory: Path, sha256: str | None = None) -> BundleFiles:
    """Read a bundle's files and check that they are complete and unchanged. The model itself is not looked at.

    Args:
        directory: where the bundle's files are.
        sha256: the announced digest; None accepts the digest stated in the bundle.

    Raises:
        BundleError: a file is missing, truncated or changed, or the format is unknown.
    """
    content = _read(directory, ABOUT)
    stated = read_digest(directory)
    elsewhere = kept_with(content, directory)
    contents = {
        name: _read(directory, name, elsewhere.get(name)) for name in files_of(content, directory) if name != ABOUT
    }
    try:
        about = json.loads(content)
        digest = (
            bundle_format_1.digest({**contents, ABOUT: content})
            if about["format"] == 1
            else hashlib.sha256(content).hexdigest()
        )
        if digest != stated:
            raise BundleError(
                f"{directory} is damaged: its files have the sha256 {digest[:12]}…, its {DIGEST} says {stated[:12]!r}…"
            )
        if sha256 is not None and digest != sha256:
            raise BundleError(
                f"{directory} is not the announced bundle: sha256 {digest[:12]}…, announced {sha256[:12]}…"
            )
        if about["format"] == 1:
            about = bundle_format_1.as_format_2(about, contents)
        _check_digests(directory, about["files"], contents)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise not_readable(directory, error) from error
    return BundleFiles(digest, about, contents)


def read_digest(directory: Path) -> str:
    """The sha256 in the bundle's own SHA256 file; `read_files` checks it."""
    return _read(directory, DIGEST).decode(errors="replace").strip()


def files_of(about: bytes, place: Path | str) -> list[str]:
    """The names of a bundle's files without SHA256, from the content of its bundle.json. bundle.json is the last name.

    Raises:
        BundleError: the content cannot be parsed, has an unknown format, or names a file outside the bundle.
    """
    try:
        stated = json.loads(about)
        version = stated["format"]
        if version == 1:
            return list(bundle_format_1.FILES)
        if version != FORMAT:
            raise BundleError(f"{place} has the bundle format {version!r}; this nextclick reads 1 and {FORMAT}")
        names = [str(name) for name in stated["files"]]
    except (KeyError, TypeError, ValueError) as error:
        raise not_readable(place, error) from error
    for name in names:
        if name in (ABOUT, DIGEST) or name.startswith(".") or Path(name).name != name:
            raise BundleError(f"{place} names {name!r} as a file of its own: it was not written by nextclick")
    return [*names, ABOUT]


def refresh_of(about: Mapping[str, Any]) -> str | None:
    """The version whose network this bundle has, with neighbours that were counted anew; None: the network is its own.

    Args:
        about: bundle.json, in any format.

    Raises:
        ValueError: it is no version.
    """
    trained = about.get("refresh_of")
    if trained is None:
        return None
    if not isinstance(trained, str) or not re.fullmatch(NAME, trained) or trained.startswith("."):
        raise ValueError(f"refresh_of is {trained!r}, which is no version")
    return trained


def kept_with(about: bytes, place: Path | str) -> dict[str, str]:
    """File name → the version in whose directory, beside this one, the file is if it is not in the bundle's own.

    A bundle with the network of another version has no copy of that network's files at the models URI.

    Raises:
        BundleError: the content cannot be parsed.
    """
    try:
        stated = json.loads(about)
        trained = refresh_of(stated)
        return {} if trained is None else {str(name): trained for name in stated["network_files"]}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise not_readable(place, error) from error


def network_digest(about: Mapping[str, Any]) -> str:
    """A short digest of what a session's memory depends on, 16 hexadecimal digits: bundles with the same one read each
    other's memories.

    A bundle without `network_files` has a network only: the digest is of all its files, items.json too for the rows.
    With the entry it is of the files named there, the family and the settings, so that neighbours can be counted anew
    without a change of the digest.

    Args:
        about: bundle.json, in format 2.

    Raises:
        KeyError, TypeError, ValueError: it is no such content.
    """
    files, names = about["files"], about.get("network_files")
    lines = [f"{name} {files[name]['sha256']}\n" for name in sorted(files if names is None else names)]
    if names is not None:
        settings = json.dumps(_without_item_counts(about["config"]), sort_keys=True)
        lines.append(f"{about['family']} {settings}\n")
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]


def not_readable(place: Path | str, error: Exception) -> BundleError:
    """The error for files that a parser refused; the repr of some parsers' errors holds the whole file."""
    cause = printable(str(error) if isinstance(error, UnicodeDecodeError) else repr(error), 300)
    return BundleError(f"{place} is no bundle that this nextclick can read: {cause}")


def _without_item_counts(config: Any) -> Any:
    """The settings without the number of items, which changes when a model is counted anew."""
    if not isinstance(config, Mapping):
        return config
    return {name: _without_item_counts(value) for name, value in config.items() if name != "items"}


def _check_digests(directory: Path, stated: Mapping[str, Any], contents: Mapping[str, bytes]) -> None:
    for name, content in contents.items():
        found = hashlib.sha256(content).hexdigest()
        if found != stated[name]["sha256"]:
            raise BundleError(
                f"{directory} is damaged: {name} has {len(content)} bytes with the sha256 {found[:12]}…, {ABOUT} says "
                f"{stated[name]['bytes']} bytes with {str(stated[name]['sha256'])[:12]!r}…"
            )


def _read(directory: Path, name: str, network_version: str | None = None) -> bytes:
    place = directory / name
    if network_version is not None and not place.exists():
        place = directory.parent / network_version / name
    try:
        return place.read_bytes()
    except OSError as error:
        whose = "" if network_version is None else f" of its network, {network_version}"
        raise BundleError(
            f"{directory} is no whole bundle: cannot read {name}{whose}: {error.strerror or error}"
        ) from error
