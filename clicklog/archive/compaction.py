"""Compaction of an archive: small files are merged, superseded files and old days are deleted."""

import tempfile
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import polars as pl

from clicklog.archive.files import Archive, ArchiveFile, Slice, resolve
from clicklog.columns import with_equal_ids

MERGE_FILES = 8
"""This many consecutive small files of one day and partition are merged; on a past day 2 are enough."""

LARGE = 32 << 20
"""Bytes: files of this size or more are not merged. 4 to 8 million clicks."""


def compact(archive: Archive, partitions: Iterable[int], today: str, oldest_day: str) -> int:
    """Delete superseded files and old days, then merge small files.

    It may be killed at any point, and several may run at the same time: a merged file is complete before its parts are
    deleted. Until then files overlap, which readers handle.

    Args:
        archive: to compact.
        partitions: only their files are changed.
        today: the UTC day that still gets files.
        oldest_day: files of earlier days are deleted, except a partition's last file, which marks the archive's end.

    Returns:
        number of messages in the files of earlier days, which are deleted.
    """
    wanted = set(partitions)
    slices, superseded = resolve(file for file in archive.files() if file.partition in wanted)
    archive.delete(superseded)
    last = {piece.file.partition: piece.file for piece in slices}
    old = [piece.file for piece in slices if piece.file.day < oldest_day and piece.file != last[piece.file.partition]]
    archive.delete(old)
    gone = set(old)
    for run in _runs([piece for piece in slices if piece.file not in gone], today):
        try:
            _merge(archive, run)
        except FileNotFoundError:
            continue  # another archiver has merged these files
    return sum(file.end - file.first for file in old)


def _runs(slices: list[Slice], today: str) -> list[list[Slice]]:
    """The runs of slices to merge: of one partition and day, each slice begins where the one before ends."""
    runs: list[list[Slice]] = []
    of_day: defaultdict[tuple[int, str], list[Slice]] = defaultdict(list)
    for piece in slices:
        of_day[piece.file.partition, piece.file.day].append(piece)
    for (_, day), pieces in of_day.items():
        run: list[Slice] = []
        stretches: list[list[Slice]] = []
        for piece in pieces:
            if piece.file.size >= LARGE:
                run = []
                continue
            if not run or run[-1].file.end != piece.start:
                run = []
                stretches.append(run)
            run.append(piece)
        enough = MERGE_FILES if day >= today else 2
        runs += [
            stretch
            for stretch in stretches
            if len(stretch) >= enough or any(piece.start > piece.file.first for piece in stretch)
        ]
    return runs


def _merge(archive: Archive, run: list[Slice]) -> None:
    with tempfile.TemporaryDirectory(prefix="nextclick-merge-") as scratch:
        frames, skipped = [], 0
        for piece in run:
            path = archive.fetch(piece.file, Path(scratch))
            frames.append(pl.read_parquet(path).filter(pl.col("offset") >= piece.start))
            skipped += skipped_in(path)
    whole = pl.concat(with_equal_ids(frames))
    first, last = run[0], run[-1].file
    merged = ArchiveFile(
        last.partition,
        first.start,
        last.end,
        last.day,
        whole["timestamp"].min(),  # type: ignore[arg-type]
        whole["timestamp"].max(),  # type: ignore[arg-type]
    )
    parts = [piece.file for piece in run]
    if [merged.name] == [part.name for part in parts]:
        return
    archive.write(merged, whole, skipped)
    archive.delete([part for part in parts if part.name != merged.name])


def skipped_in(path: Path) -> int:
    """The number of messages in a file's range that were not valid clicks."""
    return int(pl.read_parquet_metadata(path).get("nextclick.skipped", 0))
