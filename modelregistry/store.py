"""The store of model bundles at the models URI: one directory for each version.

store = BundleStore(settings.models_uri)
store.put(directory)
store.versions()

A version never changes once it is there. Its digest is written last and deleted first, so an incomplete version is
never read as a bundle.
"""

import contextlib
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fsspec

from rankers import bundle_format_1
from rankers.bundle_files import ABOUT, DIGEST, files_of, read_digest
from schemas.errors import BundleError, one_line
from schemas.places import filesystem_options, is_object_store

OPTIMISER_STATE = "optimiser.safetensors"
"""In a version's directory, beside the bundle: the optimiser's state for the next warm start."""


class BundleStore:
    """Bundles at the models URI.

    Args:
        uri: a path or an fsspec URI, NEXTCLICK_MODELS_URI.

    Raises:
        BundleError: the scheme is unknown, or its driver is not installed.
    """

    def __init__(self, uri: str) -> None:
        self._stated_uri = uri
        try:
            self._filesystem, self._root = _open(uri)
        except (ValueError, ImportError) as error:
            raise BundleError(f"NEXTCLICK_MODELS_URI={uri!r} cannot be used: {error}") from error

    def uri_of(self, version: str) -> str:
        """The URI of a version, as in announcements; the version need not exist."""
        return self._filesystem.unstrip_protocol(self._place(version))  # type: ignore[no-any-return]

    def versions(self) -> list[str]:
        """The complete versions, sorted by name."""
        if not self._filesystem.exists(self._root):
            return []
        names = [_last(entry) for entry in self._filesystem.ls(self._root, detail=False)]
        return sorted(name for name in names if self._filesystem.exists(f"{self._place(name)}/{DIGEST}"))

    def check_version(self, version: str) -> None:
        """Check that a version is there.

        Raises:
            BundleError: it is not; the message names the versions that are there.
        """
        versions = self.versions()
        if version not in versions:
            known = ", ".join(versions) or "none"
            raise BundleError(f"no version {version!r} at NEXTCLICK_MODELS_URI={self._stated_uri}; there is: {known}")

    def check_writable(self) -> None:
        """Write a small file and delete it, to find a store that is not writable before hours of training.

        Raises:
            BundleError: the store is not writable.
        """
        probe = f"{self._root}/.probe-{secrets.token_hex(6)}"
        try:
            self._ensure_directory(self._root)
            self._filesystem.pipe_file(probe, b"may be deleted")
            self._filesystem.rm_file(probe)
        except Exception as error:  # every fsspec backend has its own exceptions
            raise BundleError(
                f"the registry at NEXTCLICK_MODELS_URI={self._stated_uri} cannot be written: {one_line(error)}"
            ) from error

    def put(self, directory: Path, version: str) -> None:
        """Copy a bundle's files to the store, unless they are already there.

        Args:
            directory: of a bundle that `read_bundle` has checked.
            version: of the bundle.

        Raises:
            BundleError: another bundle of this version is there, or the store is not writable.
        """
        place, sha256 = self._place(version), read_digest(directory)
        try:
            if self._filesystem.exists(f"{place}/{DIGEST}"):
                there = self._filesystem.cat_file(f"{place}/{DIGEST}").decode().strip()
                if there != sha256:
                    raise BundleError(
                        f"{place} holds another bundle of version {version} (sha256 {there[:12]}…): versions never "
                        "change; train again to get a new one"
                    )
            else:
                self._ensure_directory(place)
                names = files_of((directory / ABOUT).read_bytes(), directory)
                for name in (*names, DIGEST):  # the digest last: a bundle without it is incomplete
                    self._filesystem.put_file(str(directory / name), f"{place}/{name}")
        except OSError as error:
            raise BundleError(f"cannot put the bundle at {place} (NEXTCLICK_MODELS_URI): {error}") from error

    def fetch(self, uri: str, directory: Path) -> None:
        """Copy an announced bundle to a local directory, only after all its files were fetched.

        Args:
            uri: of the bundle: a path or an fsspec URI below the models URI.
            directory: to create; must not exist.

        Raises:
            BundleError: the URI is outside the models URI, has an unknown scheme, or a file cannot be fetched.
        """
        try:
            filesystem, place = _open(uri)
        except (ValueError, ImportError) as error:
            raise BundleError(f"cannot fetch from {uri}: {one_line(error)}") from error
        place = _resolved(filesystem, place)
        if type(filesystem) is not type(self._filesystem) or not self._is_below(place):
            raise BundleError(f"{uri} lies outside NEXTCLICK_MODELS_URI={self._stated_uri}: publish the bundle there")
        directory.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=directory.parent, prefix=".fetching-") as scratch:
            names = [ABOUT, DIGEST]
            for name in names:  # bundle.json names the other files
                try:
                    filesystem.get_file(f"{place}/{name}", f"{scratch}/{name}")
                except Exception as error:  # every fsspec backend has its own exceptions
                    raise BundleError(f"cannot fetch {uri}/{name}: {one_line(error)}") from error
                if name == DIGEST:
                    names += files_of((Path(scratch) / ABOUT).read_bytes(), uri)[:-1]
            shutil.copytree(scratch, directory)

    @contextlib.contextmanager
    def fetched(self, uri: str) -> Iterator[Path]:
        """A local copy of a bundle, deleted after the block.

        Args:
            uri: as in `fetch`.

        Raises:
            BundleError: it cannot be fetched.
        """
        with tempfile.TemporaryDirectory(prefix="nextclick-bundle-") as scratch:
            directory = Path(scratch) / "bundle"
            self.fetch(uri, directory)
            yield directory

    def delete(self, version: str) -> None:
        """Delete a version: its digest first, then the rest.

        Raises:
            BundleError: the store refuses the deletion.
        """
        place = self._place(version)
        try:
            for name in self._own_files(version):
                if self._filesystem.exists(f"{place}/{name}"):
                    self._filesystem.rm_file(f"{place}/{name}")
            if _is_local(self._filesystem):
                with contextlib.suppress(OSError):
                    Path(place).rmdir()
        except Exception as error:
            raise BundleError(f"cannot delete {place} (NEXTCLICK_MODELS_URI): {one_line(error)}") from error

    def foreign_files(self, version: str) -> list[str]:
        """The files in a version's directory that the store did not write."""
        names = [_last(entry) for entry in self._filesystem.ls(self._place(version), detail=False)]
        own = self._own_files(version)
        return [name for name in names if name not in own]

    def written_at(self, version: str) -> datetime:
        """When a version was completed; the present time if the file system does not report it."""
        try:
            when: datetime = self._filesystem.modified(f"{self._place(version)}/{DIGEST}")
        except (NotImplementedError, FileNotFoundError):
            return datetime.now(UTC)
        return when if when.tzinfo is not None else when.replace(tzinfo=UTC)

    def put_beside(self, version: str, name: str, content: bytes) -> None:
        """Write a file that is not part of the bundle into a version's directory. Workers do not fetch it.

        Raises:
            BundleError: the store is not writable.
        """
        place = self._place(version)
        try:
            self._ensure_directory(place)
            self._filesystem.pipe_file(f"{place}/{name}", content)
        except Exception as error:
            raise BundleError(f"cannot write to NEXTCLICK_MODELS_URI={self._stated_uri}: {one_line(error)}") from error

    def get_beside(self, version: str, name: str) -> bytes | None:
        """The content of such a file; None if it is missing or cannot be read."""
        try:
            return bytes(self._filesystem.cat_file(f"{self._place(version)}/{name}"))
        except Exception:  # every fsspec backend has its own exceptions
            return None

    def _own_files(self, version: str) -> list[str]:
        """The store's files of a version in the order of deletion: bundle.json is last, because it names the others."""
        try:
            names = files_of(self._filesystem.cat_file(f"{self._place(version)}/{ABOUT}"), self._place(version))
        except (FileNotFoundError, BundleError):  # missing or damaged
            names = list(bundle_format_1.FILES)
        return [DIGEST, OPTIMISER_STATE, *names]

    def _place(self, version: str) -> str:
        return f"{self._root}/{version}"

    def _is_below(self, place: str) -> bool:
        return place.startswith(f"{_resolved(self._filesystem, self._root)}/") and ".." not in place.split("/")

    def _ensure_directory(self, place: str) -> None:
        """Create a directory, except on an object store: there a misspelt name would create a bucket."""
        if not is_object_store(self._filesystem.unstrip_protocol(place)):
            self._filesystem.makedirs(place, exist_ok=True)


def _open(uri: str) -> tuple[Any, str]:
    """The file system of a URI, and the path on it."""
    filesystem, place = fsspec.core.url_to_fs(uri, **filesystem_options(uri))
    return filesystem, place.rstrip("/")


def _resolved(filesystem: Any, place: str) -> str:
    """A local path with symbolic links and `..` resolved; other paths unchanged."""
    return str(Path(place).resolve()) if _is_local(filesystem) else place


def _is_local(filesystem: Any) -> bool:
    return "file" in filesystem.protocol


def _last(entry: Any) -> str:
    return str(entry).rstrip("/").rsplit("/", 1)[-1]
