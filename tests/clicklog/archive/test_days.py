"""The days of the archive's files, and what is deleted when a day is too old: by no clock of a producer."""

import asyncio
import time
from pathlib import Path
from unittest.mock import AsyncMock

import pytest
from aiokafka import ConsumerRecord, TopicPartition

from clicklog.archive.archiver import DAY_MS, Archiver, _Filling
from clicklog.archive.files import Archive, day_of
from schemas.settings import Settings
from tests.clicklog.archive.test_exactly_once import archive_now, archived
from tests.clicklog.archive.topic import produce, produce_raw, some_clicks
from tests.topics import create_with_brokers_times, create_with_producers_times

HOUR_MS = 3_600_000


def test_old_days_are_dropped_but_not_the_place_where_the_archive_ends(
    archive_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    long_ago, lately = some_clicks(40), some_clicks(40, first=40)
    produce(archive_settings, long_ago)
    with monkeypatch.context() as clock:
        clock.setattr("clicklog.archive.archiver._now", lambda: time.time_ns() // 1_000_000 - 400 * DAY_MS)
        assert archive_now(archive_settings).done.clicks == 40
    assert archive_now(archive_settings).done.expired == 0, "the last file of each partition stays"
    produce(archive_settings, lately)
    done = archive_now(archive_settings).done
    assert (done.clicks, done.expired) == (40, 40)
    assert archived(archive_settings) == lately
    assert archive_now(archive_settings).done.clicks == 0


@pytest.mark.parametrize("brokers_time", [True, False])
def test_record_times_of_long_ago_do_not_shorten_the_retention(
    bare_settings: Settings, tmp_path: Path, brokers_time: bool
) -> None:
    """Connect, Flink and Kafka Streams keep the time of the event as the time of the record."""
    settings = bare_settings.model_copy(update={"archive_uri": str(tmp_path / "archive")})
    asyncio.run((create_with_brokers_times if brokers_time else create_with_producers_times)(settings))
    clicks = some_clicks(100)
    encoded = [(s.encode(), f'{{"session_id":"{s}","item_id":{i},"timestamp":{t}}}'.encode()) for s, i, t in clicks]
    for part, days_ago in enumerate((800, 0, 400, 1)):  # in no order
        taken_in = time.time_ns() // 1_000_000 - days_ago * DAY_MS
        produce_raw(settings, encoded[part * 25 : part * 25 + 25], taken_in)
        archive_now(settings)
    assert archive_now(settings).done.expired == 0
    assert archived(settings) == clicks
    days = {file.day for file in Archive(settings.archive_uri, settings.clicks_topic).files()}
    assert days <= {day_of(time.time_ns() // 1_000_000), day_of(time.time_ns() // 1_000_000 - HOUR_MS)}


def test_a_file_ends_with_its_day_by_the_brokers_time(monkeypatch: pytest.MonkeyPatch) -> None:
    midnight = 20_000 * DAY_MS
    monkeypatch.setattr("clicklog.archive.archiver._now", lambda: midnight + 1000)
    written = days_of_files([(midnight - 2, 1), (midnight - 1, 1), (midnight, 1), (midnight + 1, 1)])
    assert written == [(0, 2, day_of(midnight - 1)), (2, 4, day_of(midnight))]
    assert days_of_files([(midnight - 2, 0), (midnight - 800 * DAY_MS, 0)]) == [(0, 2, day_of(midnight))]
    assert days_of_files([(midnight + DAY_MS, 1)]) == [(0, 1, day_of(midnight))], "a broker whose clock is ahead"


def days_of_files(records: list[tuple[int, int]]) -> list[tuple[int, int, str]]:
    """First offset, end and day of the files that an archiver writes of records with these times and time types."""
    partition = TopicPartition("clicks", 0)
    fetched = [
        ConsumerRecord("clicks", 0, offset, moment, kind, b"s", b"no click", None, 1, 1, ())
        for offset, (moment, kind) in enumerate(records)
    ]
    consumer = AsyncMock()
    consumer.position.return_value = len(records)
    consumer.last_stable_offset = lambda _partition: len(records)
    files: list[tuple[int, int, str]] = []
    writing = Archiver(Settings(_env_file=None))
    writing._archive.write = lambda file, _clicks, _skipped: files.append((file.first, file.end, file.day))  # type: ignore[method-assign]
    filling = writing._filling[partition] = _Filling(0, 0)

    async def gather() -> None:
        await writing._gather(consumer, partition, filling, fetched)
        await writing._write(consumer, [partition])

    asyncio.run(gather())
    return files
