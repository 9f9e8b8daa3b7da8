"""Archive files have ids as texts, older ones are rewritten, and both are read."""

from pathlib import Path
from typing import Any

import fsspec
import polars as pl
import pytest

from clicklog.archive import compaction
from clicklog.archive.archive_file import ArchiveFile
from clicklog.archive.compaction import compact
from clicklog.archive.content import open_file
from clicklog.archive.files import Archive, resolve
from clicklog.log import ClickLog

TODAY, BEFORE = "2026-11-27", "2026-11-26"


def clicks(first: int, items: list[Any], sessions: list[Any] | None = None) -> pl.DataFrame:
    offsets = list(range(first, first + len(items)))
    sessions = sessions or [1] * len(items)
    return pl.DataFrame({"session_id": sessions, "item_id": items, "timestamp": offsets, "offset": offsets})


def file_of(frame: pl.DataFrame, day: str = TODAY, partition: int = 0) -> ArchiveFile:
    first, last = int(frame["offset"][0]), int(frame["offset"][-1])
    return ArchiveFile(partition, first, last + 1, day, first, last)


def write_as_0_2(archive: Archive, frame: pl.DataFrame, day: str = TODAY, partition: int = 0) -> ArchiveFile:
    """Write a file as version 0.2 did: Int64 where all ids of the file are numbers."""
    file = file_of(frame, day, partition)
    with archive.filesystem.open(archive.path(file), "wb") as target:
        frame.write_parquet(target, metadata={"nextclick.skipped": "2"})
    return file


def id_types(archive: Archive) -> set[pl.DataType]:
    """The types of the id columns in all files, as another engine sees them."""
    schemas = []
    for file in archive.files():
        with archive.filesystem.open(archive.path(file), "rb") as source:
            schemas.append(pl.read_parquet_schema(source))
    return {schema[name] for schema in schemas for name in ("session_id", "item_id")}


def read(archive: Archive) -> ClickLog:
    log = ClickLog("the archive", None, None)
    for piece in resolve(archive.files())[0]:
        stored = open_file(Path(archive.path(piece.file)))
        log.skipped += stored.skipped
        log.add(piece.file.partition, stored.frame)
    return log


def ids(log: ClickLog) -> list[tuple[Any, Any]]:
    return log.frame().sort("offset").select("session_id", "item_id").rows()


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    archive = Archive(str(tmp_path), "clicks")
    for day in (TODAY, BEFORE):
        for partition in range(3):
            Path(archive.path(ArchiveFile(partition, 0, 1, day))).parent.mkdir(parents=True)
    return archive


def test_ids_are_texts_in_every_file_and_numbers_where_all_of_them_are(archive: Archive) -> None:
    for frame in (clicks(0, [7, -8]), clicks(2, ["7", "8"])):
        archive.write(file_of(frame), frame, 0)
    assert id_types(archive) == {pl.String}
    assert ids(read(archive)) == [(1, 7), (1, -8), (1, 7), (1, 8)]
    mixed = clicks(4, ["7", "007"])
    archive.write(file_of(mixed), mixed, 0)
    assert id_types(archive) == {pl.String}
    assert ids(read(archive)) == [(1, "7"), (1, "-8"), (1, "7"), (1, "8"), (1, "7"), (1, "007")]


def test_files_of_older_versions_are_read_with_the_newer_ones(archive: Archive) -> None:
    write_as_0_2(archive, clicks(0, [7]))
    write_as_0_2(archive, clicks(1, ["7"], ["s"]))
    newer = clicks(2, [7])
    archive.write(file_of(newer), newer, 0)
    log = read(archive)
    assert ids(log) == [("1", "7"), ("s", "7"), ("1", "7")]
    assert log.skipped == 4


def test_tidying_rewrites_files_of_older_versions(archive: Archive) -> None:
    write_as_0_2(archive, clicks(0, [1, 2]), BEFORE)  # alone on its day: nothing to merge it with
    write_as_0_2(archive, clicks(2, [3]))
    write_as_0_2(archive, clicks(3, ["4", "shoe"]))
    write_as_0_2(archive, clicks(0, [5]), partition=1)
    write_as_0_2(archive, clicks(0, [6]), partition=2)
    compact(archive, [0, 1], TODAY, "1970-01-01")
    assert id_types(archive) == {pl.String, pl.Int64}
    compact(archive, [2], TODAY, "1970-01-01")
    assert id_types(archive) == {pl.String}
    log = read(archive)
    assert sorted(ids(log)) == [(1, str(item)) for item in (1, 2, 3, 4, 5, 6, "shoe")]
    assert log.skipped == 10


def test_a_file_too_large_to_merge_is_rewritten(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "LARGE", 1)
    for first in range(3):
        write_as_0_2(archive, clicks(first, [first]), BEFORE)
    compact(archive, [0], TODAY, "1970-01-01")
    assert len(archive.files()) == 3
    assert id_types(archive) == {pl.String}


def test_one_tidying_rewrites_a_bounded_amount_and_the_next_goes_on(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "REWRITTEN", 1)
    files = [write_as_0_2(archive, clicks(first, [first])) for first in range(3)]
    for done in range(3):
        compact(archive, [0], TODAY, "1970-01-01")
        texts = [open_file(Path(archive.path(file))).texts for file in files]
        assert texts == [place <= done for place in range(3)]


def test_a_file_that_was_looked_at_is_not_opened_again(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    for first in range(3):
        frame = clicks(first, [first])
        archive.write(file_of(frame), frame, 0)
    compact(archive, [0], TODAY, "1970-01-01")
    opened: list[Path] = []
    monkeypatch.setattr(compaction, "open_file", lambda path: opened.append(path) or open_file(path))
    older = write_as_0_2(archive, clicks(3, [3]))
    compact(archive, [0], TODAY, "1970-01-01")
    assert {path.name for path in opened} == {Path(older.name).name}
    assert id_types(archive) == {pl.String}


def test_an_archive_on_an_object_store_is_rewritten() -> None:
    archive = Archive("memory://archive-of-text-ids", "clicks")
    write_as_0_2(archive, clicks(0, [1, 2]))
    compact(archive, [0], TODAY, "1970-01-01")
    assert id_types(archive) == {pl.String}
    fsspec.filesystem("memory").rm("/archive-of-text-ids", recursive=True)


def test_a_reader_reads_on_while_its_files_are_rewritten_and_merged(archive: Archive) -> None:
    for first in range(3):
        write_as_0_2(archive, clicks(first, [first] * 1), BEFORE)
    write_as_0_2(archive, clicks(3, [3] * 500))
    log = read(archive)
    compact(archive, [0], TODAY, "1970-01-01")
    assert len(archive.files()) == 2
    assert [item for _, item in ids(log)] == [0, 1, 2, *[3] * 500]
