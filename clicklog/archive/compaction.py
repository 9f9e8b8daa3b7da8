"""Compaction of an archive: small files are merged, superseded files and old days are deleted, old formats rewritten.

In all files ids are texts, so that other engines read the files as one table. Up to 0.2 a file whose ids were all
numbers had Int64 columns.
"""

import tempfile
from collections import defaultdict
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

import polars as pl

from clicklog.archive.archive_file import ArchiveFile
from clicklog.archive.content import open_file
from clicklog.archive.files import Archive, Slice, resolve
from clicklog.columns import with_equal_ids

MERGE_FILES = 8
"""This many consecutive small files of one day and partition are merged; on a past day 2 are enough."""

LARGE = 32 << 20
"""Bytes: files of this size or more are not merged. 4 to 8 million clicks."""

REWRITTEN = 4 * LARGE
"""Bytes of older files that one compaction rewrites: it must end before Kafka excludes a silent archiver."""


def compact(archive: Archive, partitions: Iterable[int], today: str, oldest_day: str) -> int:
    """Delete superseded files and old days, rewrite files with ids as numbers, then merge small files.

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
    pieces = [piece for piece in slices if piece.file not in gone]
    runs = _runs(pieces, today)
    _rewrite_numbers(archive, pieces, {piece.file for run in runs for piece in run})
    for run in runs:
        try:
            _merge(archive, run)
        except FileNotFoundError:
            continue  # another archiver has merged these files
    return sum(file.end - file.first for file in old)


def _runs(slices: list[Slice], today: str) -> list[list[Slice]]:
    """The runs of slices to merge: of one partition, incarnation and day, each begins where the one before ends."""
    runs: list[list[Slice]] = []
    of_day: defaultdict[tuple[int, str, str], list[Slice]] = defaultdict(list)
    for piece in slices:
        of_day[piece.file.partition, piece.file.log, piece.file.day].append(piece)
    for (_, _, day), pieces in of_day.items():
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


def _rewrite_numbers(archive: Archive, pieces: list[Slice], merged: set[ArchiveFile]) -> None:
    """Rewrite files whose ids are numbers, up to `REWRITTEN` bytes, except those that are merged now.

    A note in the archive has the offset up to which this was done, so each file is opened once.
    """
    left = REWRITTEN
    for partition, of_partition in groupby(pieces, key=lambda piece: piece.file.partition):
        noted = done = archive.texts_end(partition)
        for piece in of_partition:
            if piece.file.log or piece.file.end <= done:
                continue  # versions that name the incarnation write texts
            try:
                if piece.file not in merged and not _has_texts(archive, piece.file):
                    if left <= 0:
                        break
                    left -= piece.file.size
                    _merge(archive, [piece])
            except FileNotFoundError:
                break  # another archiver has merged it
            done = piece.file.end
        if done > noted:
            archive.set_texts_end(partition, done)


def _has_texts(archive: Archive, file: ArchiveFile) -> bool:
    with tempfile.TemporaryDirectory(prefix="nextclick-merge-") as scratch:
        return open_file(archive.fetch(file, Path(scratch))).texts


def _merge(archive: Archive, run: list[Slice]) -> None:
    """Write a run of slices as one file, ids as texts; the files that it replaces are deleted."""
    with tempfile.TemporaryDirectory(prefix="nextclick-merge-") as scratch:
        frames, skipped = [], 0
        for piece in run:
            stored = open_file(archive.fetch(piece.file, Path(scratch)))
            frames.append(stored.frame.filter(pl.col("offset") >= piece.start).collect())
            skipped += stored.skipped
    whole = pl.concat(with_equal_ids(frames))
    first, last = run[0], run[-1].file
    merged = ArchiveFile(
        last.partition,
        first.start,
        last.end,
        last.day,
        whole["timestamp"].min(),  # type: ignore[arg-type]
        whole["timestamp"].max(),  # type: ignore[arg-type]
        log=last.log,
    )
    parts = [piece.file for piece in run]
    archive.write(merged, whole, skipped)
    archive.delete([part for part in parts if part.name != merged.name])
