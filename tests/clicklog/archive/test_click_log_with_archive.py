"""Archive and topic read as one log."""

import asyncio

import pytest

from clicklog.archive.files import Archive
from clicklog.log import open_log
from schemas.errors import ClicksError
from schemas.settings import Settings
from tests.clicklog.archive.test_exactly_once import archive_now
from tests.clicklog.archive.topic import START, produce, produce_raw, rows, some_clicks


def delete_records(settings: Settings, partition: int, before: int) -> None:
    """Delete the oldest messages, as the topic's retention does."""
    from aiokafka import TopicPartition
    from aiokafka.admin import RecordsToDelete

    from messaging.clients import admin

    async def delete() -> None:
        async with admin(settings) as client:
            await client.delete_records({TopicPartition(settings.clicks_topic, partition): RecordsToDelete(before)})

    asyncio.run(delete())


def test_archive_and_topic_without_overlap(archive_settings: Settings) -> None:
    clicks = some_clicks(600)
    produce(archive_settings, clicks[:400])
    archive_now(archive_settings)
    produce(archive_settings, clicks[400:])
    with open_log(archive_settings) as log:
        assert rows(log.frame()) == clicks
        assert sum(end - first for first, end in log.offsets.values()) == 600
    assert len(log.clicks().frame) == 600


def test_without_an_archive_the_log_is_the_topic(archive_settings: Settings) -> None:
    clicks = some_clicks(50)
    produce(archive_settings, clicks)
    with open_log(archive_settings) as log:
        assert rows(log.frame()) == clicks


def test_a_span_of_time(archive_settings: Settings) -> None:
    clicks = some_clicks(600)
    produce(archive_settings, clicks[:400])
    archive_now(archive_settings)
    produce(archive_settings, clicks[400:])
    with open_log(archive_settings, since=clicks[100][2], until=clicks[500][2]) as log:
        assert rows(log.frame()) == clicks[100:500]
    with (
        open_log(archive_settings, since=START + 10**9) as log,
        pytest.raises(ClicksError, match="holds no click from"),
    ):
        log.clicks()


def test_ids_are_numbers_only_where_all_of_them_are(archive_settings: Settings) -> None:
    produce_raw(archive_settings, [(b"7", b'{"session_id": 7, "item_id": 1, "timestamp": 5}')])
    archive_now(archive_settings)
    with open_log(archive_settings) as log:
        assert log.frame().select("session_id", "item_id").rows() == [(7, 1)]
    produce_raw(archive_settings, [(b"8", b'{"session_id": 8, "item_id": "shoe", "timestamp": 6}')])
    with open_log(archive_settings) as log:
        assert sorted(log.frame().select("session_id", "item_id").rows()) == [(7, "1"), (8, "shoe")]


def test_what_a_retention_has_eaten_is_said(archive_settings: Settings) -> None:
    produce(archive_settings, some_clicks(400))
    archive_now(archive_settings)
    archive = Archive(archive_settings.archive_uri, archive_settings.clicks_topic)
    produce(archive_settings, some_clicks(400, first=400))
    for partition in range(archive_settings.partitions):
        delete_records(archive_settings, partition, max(f.end for f in archive.files() if f.partition == partition) + 5)
    archive_now(archive_settings)
    with open_log(archive_settings) as log:
        assert len(log.missing) == archive_settings.partitions
        assert "5 messages" in str(log.missing[0])
        assert "deleted by a retention" in str(log.missing[0])
    with open_log(archive_settings, since=START + 799 * 100) as log:
        assert not log.missing
    with open_log(archive_settings, until=START + 100) as log:
        assert not log.missing


def test_a_topic_created_anew_is_not_taken_for_the_archived_one(archive_settings: Settings) -> None:
    produce(archive_settings, some_clicks(100))
    archive_now(archive_settings)
    archive = Archive(archive_settings.archive_uri, archive_settings.clicks_topic)
    file = archive.files()[0]
    import polars as pl

    from clicklog.archive.files import ArchiveFile

    beyond = ArchiveFile(file.partition, file.end, file.end + 50, file.day)
    archive.write(
        beyond, pl.DataFrame(schema=dict.fromkeys(("session_id", "item_id", "timestamp", "offset"), pl.Int64)), 0
    )
    for use in (lambda: archive_now(archive_settings), lambda: open_log(archive_settings)):
        with pytest.raises(ClicksError, match="created anew"):
            use()
