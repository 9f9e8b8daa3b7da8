"""The store of model bundles at the models URI: one directory for each version.

store = BundleStore(settings.models_uri)
store.put(directory)
store.versions()

A version never changes once it is there. Its digest is written last and deleted first, so an incomplete version is
never read as a bundle. A refreshed version has no copy of its network's files: they are in the directory of the version
that the network was trained as (`refresh_of` in bundle.json), which is not deleted while another version needs it.
"""

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fsspec

from rankers import bundle_format_1
from rankers.bundle_files import ABOUT, DIGEST, files_of, kept_with, read_digest, refresh_of
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
        """The complete versions, sorted by name.

        Raises:
            BundleError: the store cannot be read.
        """
        try:
            names = [_last(entry) for entry in self._filesystem.ls(self._root, detail=False)]
        except FileNotFoundError:
            return []
        except Exception as error:  # every fsspec backend has its own exceptions
            raise _unreadable(self._root, error) from error
        return sorted(name for name in names if self._is_there(f"{self._place(name)}/{DIGEST}"))

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
        """Copy a bundle's files to the store, unless they are already there. Files of its network that the store has
        with the version that the network was trained as are not stored again.

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
                about = (directory / ABOUT).read_bytes()
                there_already = self._kept_with_network(about, directory)
                for name in (*files_of(about, directory), DIGEST):  # the digest last: without it, it is incomplete
                    if name not in there_already:
                        self._filesystem.put_file(str(directory / name), f"{place}/{name}")
        except OSError as error:
            raise BundleError(f"cannot put the bundle at {place} (NEXTCLICK_MODELS_URI): {error}") from error

    def fetch(self, uri: str, directory: Path, local: Iterable[Path] = ()) -> None:
        """Copy an announced bundle with all its files to a local directory, which appears once they are all there.

        Args:
            uri: of the bundle: a path or an fsspec URI below the models URI.
            directory: to create; must not exist.
            local: directories of bundles on the same disk: a file of the network of a refreshed version that one of
                them has is not fetched again.

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
            whole = Path(scratch) / "bundle"
            whole.mkdir()

            def get(name: str, version: str | None = None) -> None:
                source = place if version is None else f"{place.rsplit('/', 1)[0]}/{version}"
                try:
                    filesystem.get_file(f"{source}/{name}", str(whole / name))
                except Exception as error:  # every fsspec backend has its own exceptions
                    lies = uri if version is None else f"the network of {uri}, {source}"
                    raise BundleError(f"cannot fetch {lies}/{name}: {one_line(error)}") from error

            for name in (ABOUT, DIGEST):
                get(name)
            about = (whole / ABOUT).read_bytes()  # it names the other files
            elsewhere = kept_with(about, uri)
            copies = _copies(about, elsewhere, local)
            for name in files_of(about, uri)[:-1]:
                if name in copies:
                    _link(copies[name], whole / name)
                elif name in elsewhere and not self._is_there(f"{place}/{name}"):
                    get(name, elsewhere[name])
                else:
                    get(name)
            whole.rename(directory)

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
            BundleError: another version needs its files, or the store cannot be read or refuses the deletion.
        """
        about = self._about(version)
        if about is None or _may_be_needed(about):
            needing = sorted(other for other, its in self.network_versions().items() if its == version)
            if needing:
                raise BundleError(
                    f"{version} has the network of {needing[-1]}, which would be lost: delete that one first"
                )
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

    def network_versions(self) -> dict[str, str]:
        """Refreshed version → the version that its network was trained as, which may have the network's files.

        Raises:
            BundleError: the store cannot be read.
        """
        found = {}
        for version in self.versions():
            about = self._about(version)
            with contextlib.suppress(ValueError, AttributeError):  # one that is damaged cannot be served: needs nothing
                trained = None if about is None else refresh_of(json.loads(about))
                if trained is not None:
                    found[version] = trained
        return found

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
        return self._content(f"{self._place(version)}/{name}")

    def _about(self, version: str) -> bytes | None:
        """The content of a version's bundle.json; None if it is missing.

        Raises:
            BundleError: the store cannot be read.
        """
        place = f"{self._place(version)}/{ABOUT}"
        try:
            return bytes(self._filesystem.cat_file(place))
        except FileNotFoundError:
            return None
        except Exception as error:  # every fsspec backend has its own exceptions
            raise _unreadable(place, error) from error

    def _is_there(self, place: str) -> bool:
        """Whether there is such a file. fsspec's own `exists` is False after any error.

        Raises:
            BundleError: the store cannot be read.
        """
        try:
            self._filesystem.info(place)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except Exception as error:  # every fsspec backend has its own exceptions
            raise _unreadable(place, error) from error
        return True

    def _content(self, place: str) -> bytes | None:
        """The content of a file; None if it is missing or cannot be read."""
        try:
            return bytes(self._filesystem.cat_file(place))
        except Exception:  # every fsspec backend has its own exceptions
            return None

    def _kept_with_network(self, about: bytes, directory: Path) -> set[str]:
        """The files of a bundle that need not be put, because the version with its network has them.

        Args:
            about: content of bundle.json.
            directory: of the bundle.
        """
        elsewhere, stated = kept_with(about, directory), _digests(about)
        found = set()
        for place in map(self._place, set(elsewhere.values())):
            there = _digests(self._content(f"{place}/{ABOUT}") or b"{}")
            if self._is_there(f"{place}/{DIGEST}"):
                found |= {
                    name for name in elsewhere
                    if there.get(name) == stated[name] and self._is_there(f"{place}/{name}")
                }  # fmt: skip
        return found

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


def _unreadable(place: str, error: Exception) -> BundleError:
    return BundleError(f"cannot read {place} (NEXTCLICK_MODELS_URI): {one_line(error)}")


def _may_be_needed(about: bytes) -> bool:
    """Whether other versions may have no copy of this one's network, from the content of its bundle.json."""
    try:
        stated = json.loads(about)
        return bool(stated.get("network_files")) and refresh_of(stated) is None
    except (ValueError, AttributeError):  # damaged; its network may be whole
        return True


def _digests(about: bytes) -> dict[str, str]:
    """File name → sha256, from the content of bundle.json; empty if it cannot be parsed or is of format 1."""
    try:
        files: Mapping[str, Any] = json.loads(about)["files"]
        return {name: str(file["sha256"]) for name, file in files.items()}
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}


def _copies(about: bytes, names: Collection[str], local: Iterable[Path]) -> dict[str, Path]:
    """File name → a local file with its content, from the bundles in local directories, for these files of a bundle."""
    wanted = {name: sha256 for name, sha256 in _digests(about).items() if name in names}
    found: dict[str, Path] = {}
    for directory in local:
        try:
            digests = _digests((directory / ABOUT).read_bytes())
            for name, sha256 in wanted.items():
                if name not in found and digests.get(name) == sha256 == _sha256(directory / name):
                    found[name] = directory / name
        except OSError:  # it was deleted meanwhile
            continue
    return found


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _link(source: Path, target: Path) -> None:
    """Make a second name of a file, or a copy where the disk has no second names."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
