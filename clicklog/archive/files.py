"""Archive files: their names, which parts of them are used, and writing and deleting them on any fsspec file system."""

import os
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import fsspec
import polars as pl

from clicklog.archive.archive_file import ArchiveFile
from clicklog.archive.content import encode
from clicklog.archive.incarnations import chains
from schemas.errors import ClicksError, one_line
from schemas.places import filesystem_options


@dataclass(frozen=True)
class Slice:
    """The used part of a file: its clicks from offset `start` on. Earlier offsets are in another file.

    Attributes:
        file: the file.
        start: the first used offset.
        log: incarnation of the topic that the offsets count in; empty if unknown.
    """

    file: ArchiveFile
    start: int
    log: str = ""


def resolve(files: Iterable[ArchiveFile]) -> tuple[list[Slice], list[ArchiveFile]]:
    """Choose the parts of files to read, so that every offset is read once although files may overlap.

    Two archivers, or one that was killed while it merged, leave overlapping files. The message at an offset never
    changes, so either file can be read.

    Returns:
        Slices in order of partition, incarnation of the topic (by time) and offset, and the files that are not needed.
    """
    slices: list[Slice] = []
    superseded: list[ArchiveFile] = []
    for chain in chains(files):
        until = chain.first
        for place, file in enumerate(chain.files):
            if place and file.end <= until:
                superseded.append(file)
                continue
            slices.append(Slice(file, max(file.first, until), chain.log))
            until = file.end
    return slices, superseded


class Archive:
    """The files of one topic at an fsspec URI.

    Args:
        uri: a path or an fsspec URI, NEXTCLICK_ARCHIVE_URI.
        topic: names the directory of its files.

    Raises:
        ClicksError: the scheme is unknown, or its driver is not installed.
    """

    def __init__(self, uri: str, topic: str) -> None:
        self.uri = uri
        try:
            self.filesystem, root = fsspec.core.url_to_fs(uri, **filesystem_options(uri))
        except (ValueError, ImportError) as error:
            raise ClicksError(f"NEXTCLICK_ARCHIVE_URI={uri!r} cannot be used: {error}") from error
        self.root = f"{root.rstrip('/')}/{topic}"
        self.local = "file" in _protocols(self.filesystem)

    def files(self) -> list[ArchiveFile]:
        """All files, including overlapping ones.

        Raises:
            ClicksError: the archive cannot be listed.
        """
        try:
            listed = self.filesystem.find(self.root, detail=True)
        except FileNotFoundError:
            return []
        except Exception as error:  # every fsspec backend has its own exceptions
            raise ClicksError(f"the archive at {self.uri} cannot be listed: {one_line(error)}") from error
        found = (ArchiveFile.of(path, int(entry["size"] or 0)) for path, entry in listed.items())
        return [file for file in found if file is not None]

    def write(self, file: ArchiveFile, clicks: pl.DataFrame, skipped: int) -> None:
        """Write a file atomically. An existing file of this name has the same content.

        Args:
            file: gives the name.
            clicks: `clicklog.archive.content.COLUMNS`, by offset.
            skipped: number of messages in the range that are not valid clicks, kept in the file's metadata.

        Raises:
            ClicksError: the archive is not writable.
        """
        self._put(self.path(file), encode(clicks, skipped, file.log))

    def texts_end(self, partition: int) -> int:
        """The offset up to which the files of a partition are known to have ids as texts; 0 if nothing is known.

        Raises:
            ClicksError: the archive cannot be read.
        """
        try:
            return int(self.filesystem.cat_file(self._texts_end(partition)))
        except FileNotFoundError:
            return 0
        except Exception as error:
            raise ClicksError(f"the archive at {self.uri} cannot be read: {one_line(error)}") from error

    def set_texts_end(self, partition: int, end: int) -> None:
        """Remember that the files of a partition have ids as texts up to this offset.

        Raises:
            ClicksError: the archive is not writable.
        """
        self._put(self._texts_end(partition), BytesIO(str(end).encode()))

    def _texts_end(self, partition: int) -> str:
        return f"{self.root}/_text-ids/partition={partition}"

    def _put(self, path: str, content: BytesIO) -> None:
        try:
            if self.local:
                _write_whole(Path(path), content.getbuffer())
            else:  # one request writes the whole object: readers see all of it or nothing
                self.filesystem.pipe_file(path, content.getvalue())
        except Exception as error:
            raise ClicksError(f"cannot write to the archive at {self.uri}: {one_line(error)}") from error

    def delete(self, files: Sequence[ArchiveFile]) -> None:
        """Delete files; files that do not exist are ignored.

        Raises:
            ClicksError: the archive refuses the deletion.
        """
        for file in files:
            try:
                self.filesystem.rm_file(self.path(file))
            except FileNotFoundError:
                continue
            except Exception as error:
                raise ClicksError(f"cannot delete from the archive at {self.uri}: {one_line(error)}") from error

    def fetch(self, file: ArchiveFile, directory: Path) -> Path:
        """The path of the file on this machine: the archive's own if it is local, else a copy in `directory`.

        Raises:
            FileNotFoundError: it was merged or deleted since it was listed; list again.
            ClicksError: it cannot be fetched.
        """
        path = self.path(file)
        if self.local:
            if not Path(path).exists():
                raise FileNotFoundError(path)
            return Path(path)
        copy = directory / file.name
        copy.parent.mkdir(parents=True, exist_ok=True)
        try:
            self.filesystem.get_file(path, str(copy))
        except FileNotFoundError:
            raise
        except Exception as error:
            raise ClicksError(f"cannot read {file.name} of the archive at {self.uri}: {one_line(error)}") from error
        return copy

    def path(self, file: ArchiveFile) -> str:
        """The path of a file on the archive's file system."""
        return f"{self.root}/{file.name}"

    def sweep(self, older_than: float) -> None:
        """Remove incomplete files of killed writers from before this time (seconds since 1970)."""
        if not self.local:
            return
        for scratch in Path(self.root).glob("day=*/partition=*/.*.part"):
            try:
                if scratch.stat().st_mtime < older_than:
                    scratch.unlink()
            except FileNotFoundError:
                continue


def day_of(timestamp: int) -> str:
    """UTC day of a time in ms since 1970."""
    return datetime.fromtimestamp(timestamp / 1000, UTC).strftime("%Y-%m-%d")


def _write_whole(path: Path, content: memoryview) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{secrets.token_hex(6)}.part")
    try:
        with scratch.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        scratch.rename(path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _protocols(filesystem: Any) -> tuple[str, ...]:
    return (filesystem.protocol,) if isinstance(filesystem.protocol, str) else tuple(filesystem.protocol)
