"""The archive has every click of the topic exactly once."""

import asyncio
import random
import threading
import time
from pathlib import Path

import polars as pl
import pytest

from clicklog.archive import compaction
from clicklog.archive.archiver import Archiver
from clicklog.archive.content import open_file
from clicklog.archive.files import Archive, resolve
from clicklog.log import open_log
from schemas.settings import Settings
from tests.clicklog.archive.topic import Archivers, ends, produce, produce_raw, rows, some_clicks


def archive_now(settings: Settings) -> Archiver:
    archiver = Archiver(settings)
    asyncio.run(archiver.run(asyncio.Event(), once=True))
    return archiver


def archived(settings: Settings) -> list[tuple[str, int, int]]:
    """The clicks of the archive alone, as its readers see them."""
    archive = Archive(settings.archive_uri, settings.clicks_topic)
    slices, _ = resolve(archive.files())
    parts = [
        open_file(Path(archive.path(piece.file))).frame.filter(pl.col("offset") >= piece.start).collect()
        for piece in slices
        if piece.file.oldest is not None
    ]
    return rows(pl.concat(parts)) if parts else []


def wait_until_archived(settings: Settings, messages: int, seconds: float = 60) -> None:
    archive = Archive(settings.archive_uri, settings.clicks_topic)
    deadline = time.monotonic() + seconds
    while sum(ends(archive.files()).values()) < messages:
        assert time.monotonic() < deadline, f"{ends(archive.files())} of {messages}"
        time.sleep(0.1)


@pytest.mark.slow
def test_killed_archivers_neither_lose_nor_double_a_click(archive_settings: Settings, archivers: Archivers) -> None:
    settings = archive_settings.model_copy(update={"archive_interval": archive_settings.archive_interval / 200})
    clicks = some_clicks(6_000)
    rng = random.Random(7)

    def produce_slowly(first: int) -> None:
        for begin in range(first, first + 1_500, 300):
            produce(settings, clicks[begin : begin + 300])

    for first in range(0, len(clicks), 1_500):
        archiver = archivers.start(settings)
        producing = threading.Thread(target=produce_slowly, args=(first,))
        producing.start()
        wait_until_archived(settings, first + 500)
        time.sleep(rng.uniform(0, 0.3))
        assert archiver.poll() is None
        archiver.kill()
        archiver.wait()
        producing.join()
    archive_now(settings)
    assert archived(settings) == clicks
    with open_log(settings) as log:
        assert rows(log.frame()) == clicks
        assert not log.missing


def test_two_archivers_share_the_work_and_do_not_harm_one_another(
    archive_settings: Settings, archivers: Archivers
) -> None:
    settings = archive_settings.model_copy(update={"archive_interval": archive_settings.archive_interval / 200})
    clicks = some_clicks(4_000)
    one, two = archivers.start(settings), archivers.start(settings)
    for begin in range(0, len(clicks), 200):
        produce(settings, clicks[begin : begin + 200])
        if begin == 0:
            wait_until_archived(settings, 200)  # from here on both archivers run
    archive_now(settings)  # a third archiver, which is not in the group of the others
    wait_until_archived(settings, len(clicks))
    assert archived(settings) == clicks
    for archiver in (one, two):
        assert archiver.poll() is None


def test_what_is_no_click_is_skipped_and_counted(archive_settings: Settings) -> None:
    clicks = some_clicks(10)
    produce(archive_settings, clicks)
    produce_raw(archive_settings, [(b"a", b"not json"), (None, b"{}"), (b"b", None)])
    archiver = archive_now(archive_settings)
    assert (archiver.done.clicks, archiver.done.skipped) == (10, 3)
    with open_log(archive_settings) as log:
        assert (len(log.frame()), log.skipped) == (10, 3)


def test_small_files_are_merged_and_nothing_changes(archive_settings: Settings) -> None:
    clicks = some_clicks(1_000)
    for begin in range(0, len(clicks), 100):
        produce(archive_settings, clicks[begin : begin + 100])
        archive_now(archive_settings)
    archive = Archive(archive_settings.archive_uri, archive_settings.clicks_topic)
    assert len(archive.files()) < 10 * archive_settings.partitions
    compaction.compact(archive, range(archive_settings.partitions), "9999-12-31", "1970-01-01")
    assert len(archive.files()) == archive_settings.partitions
    assert archived(archive_settings) == clicks


def test_overlapping_files_count_once_and_are_tidied(archive_settings: Settings, tmp_path: Path) -> None:
    clicks = some_clicks(500)
    produce(archive_settings, clicks[:300])
    archive_now(archive_settings)
    other = archive_settings.model_copy(update={"archive_uri": str(tmp_path / "other")})
    produce(archive_settings, clicks[300:])
    archive_now(other)  # complete ranges with the same start offsets as the others
    archive = Archive(archive_settings.archive_uri, archive_settings.clicks_topic)
    strange = Archive(other.archive_uri, other.clicks_topic)
    for file in strange.files():
        target = Path(archive.path(file))
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(Path(strange.path(file)).read_bytes())
    assert archived(archive_settings) == clicks
    compaction.compact(archive, range(archive_settings.partitions), "2026-01-01", "1970-01-01")
    assert sum(file.end - file.first for file in archive.files()) == len(clicks)
    assert archived(archive_settings) == clicks
