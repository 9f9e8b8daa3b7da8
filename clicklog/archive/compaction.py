"""Keeping an archive in few files: small ones are merged, superseded ones and old days are dropped."""

import tempfile
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import polars as pl

from clicklog.archive.files import Archive, ArchiveFile, Slice, resolve
from clicklog.columns import with_equal_ids

MERGE_FILES = 8
"""So many small files of one day and partition, in a row, are merged; on a past day two are enough."""

LARGE = 32 << 20
"""Bytes: a file of this size is left alone. 4 to 8 million clicks."""


def compact(archive: Archive, partitions: Iterable[int], today: str, oldest_day: str) -> None:
    """Merge small files, then delete what nothing is needed of.

    It may be killed at any point, and several may run at once: a merged file is whole before its parts go, and until
    then they overlap, which readers allow for.

    Args:
        archive: to compact.
        partitions: only files of these.
        today: the UTC day that still grows.
        oldest_day: files of days before it go, but for a partition's last one, which says where its archive ends.
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
            continue  # another archiver was faster


def _runs(slices: list[Slice], today: str) -> list[list[Slice]]:
    """Slices to be merged: of one partition and day, each beginning where the one before ends."""
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
    """Messages of a file's range that were no valid click."""
    return int(pl.read_parquet_metadata(path).get("nextclick.skipped", 0))
