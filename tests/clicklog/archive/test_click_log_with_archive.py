"""Archive and topic read as one log."""

import asyncio
import time

import polars as pl
import pytest

from clicklog.archive.compaction import compact
from clicklog.archive.files import Archive
from clicklog.log import open_log
from messaging.clients import admin
from messaging.contracts import topic_contracts
from messaging.topics import create_topics, existing_topics
from schemas.errors import ClicksError
from schemas.settings import Settings
from tests.clicklog.archive.test_exactly_once import archive_now, wait_until_archived
from tests.clicklog.archive.topic import START, Archivers, ends, produce, produce_raw, rows, some_clicks


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


def test_a_topic_created_anew_is_archived_beside_the_old_one_and_both_are_read(
    archive_settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    old, new = some_clicks(100), some_clicks(60, first=500)
    produce(archive_settings, old)
    archive_now(archive_settings)
    with open_log(archive_settings) as log:
        first_logs = dict(log.logs)
    create_again(archive_settings)
    with open_log(archive_settings) as log:
        assert rows(log.frame()) == old
        assert set(log.offsets.values()) == {(0, 0)}
        assert not set(log.logs.values()) & set(first_logs.values())
        assert log.frame(dict.fromkeys(range(archive_settings.partitions), 0)).height == 100  # no end of the new one
    produce(archive_settings, new[:40])
    archive_now(archive_settings)
    assert caplog.text.count("is archived beside it") == archive_settings.partitions
    produce(archive_settings, new[40:])
    archive = Archive(archive_settings.archive_uri, archive_settings.clicks_topic)
    for _ in range(2):
        with open_log(archive_settings) as log:
            assert rows(log.frame()) == old + new
            assert sum(end - first for first, end in log.offsets.values()) == 60
            assert not log.missing
        archive_now(archive_settings)
        compact(archive, range(archive_settings.partitions), "9999-12-31", "1970-01-01")
    assert len(archive.files()) == 2 * archive_settings.partitions
    assert set(pl.read_parquet(archive.root + "/**/*.parquet")["log"]) == {*first_logs.values(), *log.logs.values()}


def create_again(settings: Settings) -> None:
    """Delete and create the clicks topic."""

    async def create() -> None:
        topic = settings.clicks_topic
        async with admin(settings) as client:
            await client.delete_topics([topic])
            while await existing_topics(client, [topic]):
                await asyncio.sleep(0.1)
            await create_topics(client, [each for each in topic_contracts(settings) if each.name == topic])

    asyncio.run(create())


def test_a_following_archiver_goes_on_with_a_topic_created_anew(
    archive_settings: Settings, archivers: Archivers
) -> None:
    settings = archive_settings.model_copy(update={"archive_interval": archive_settings.archive_interval / 200})
    archiver = archivers.start(settings)
    old, new = some_clicks(100), some_clicks(60, first=500)
    produce(settings, old)
    wait_until_archived(settings, 100)
    create_again(settings)
    produce(settings, new)
    archive = Archive(settings.archive_uri, settings.clicks_topic)
    deadline = time.monotonic() + 60
    while sum(ends(archive.files()).values()) != 60:  # of the newest incarnation
        assert time.monotonic() < deadline
        assert archiver.poll() is None
        time.sleep(0.1)
    with open_log(settings) as log:
        assert rows(log.frame()) == old + new
