"""The clicks topic as a click log: read once from a start to the end it had when the reading began."""

import asyncio
from collections.abc import Callable, Iterable

import polars as pl
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from clicklog.clicks import Clicks, without_repetitions
from messaging.clients import admin, connected
from messaging.topics import existing_topics, missing_topics
from schemas.click import InvalidClickError, ItemId, decode_click
from schemas.errors import BrokerError, ClicksError, TopicError
from schemas.settings import Settings

SILENCE_SECONDS = 30.0
"""The broker said that there is more, and sends none of it for this long: give up."""

POLL_MILLISECONDS = 500


def read_click_topic(
    settings: Settings,
    since: int | None = None,
    until: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Clicks:
    """Read the clicks topic, all partitions, up to the end offsets at the start of the call.

    Messages that are no valid click are skipped and counted: the worker has put them on the rejected topic. So are
    clicks that equal the click before them in their session, which is what a producer without idempotence leaves when
    it tries again.

    Args:
        settings: broker and topic.
        since: ms since 1970 UTC; only clicks from then on. Reading starts at the first message of that time.
        until: only clicks before then.
        progress: called with the offsets read so far and in all.

    Returns:
        Clicks with `offsets`, `skipped` and `repeated`. Ids are Int64 where all of a column are numbers, else
        String. The rows of a session are in the order of its partition.

    Raises:
        BrokerError: no broker answers, or it goes silent.
        ClicksError: the topic has no valid click.
        TopicError: the topic does not exist.
    """
    return asyncio.run(_read(settings, since, until, progress))


async def _read(
    settings: Settings, since: int | None, until: int | None, progress: Callable[[int, int], None] | None
) -> Clicks:
    topic = settings.clicks_topic
    async with admin(settings) as client:
        existing = await existing_topics(client, [topic])
    if topic not in existing:
        raise TopicError(missing_topics([topic], settings))
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.brokers,
        client_id=f"{settings.app_id}-trainer",
        enable_auto_commit=False,
        max_partition_fetch_bytes=4 << 20,
    )
    columns: _Columns = ([], [], [])
    skipped = 0
    async with connected(consumer, settings):
        partitions = [TopicPartition(topic, number) for number in range(existing[topic].partitions)]
        consumer.assign(partitions)
        begin, end = await _bounds(consumer, partitions, since)
        total = sum(end[partition] - begin[partition] for partition in partitions)
        position = dict(begin)
        heard = asyncio.get_running_loop().time()
        while open_ones := [partition for partition in partitions if position[partition] < end[partition]]:
            batches = await consumer.getmany(*open_ones, timeout_ms=POLL_MILLISECONDS)
            for partition, records in batches.items():
                these = (record for record in records if record.offset < end[partition])
                skipped += _decode(these, since, until, columns)
            before = sum(position.values())
            for (
                partition
            ) in open_ones:  # from the consumer: the last offset may hold no message (transactions, compaction)
                position[partition] = min(await consumer.position(partition), end[partition])
            now = asyncio.get_running_loop().time()
            if sum(position.values()) > before:
                heard = now
            elif now - heard > SILENCE_SECONDS:
                raise BrokerError(
                    f"{settings.broker} has sent nothing of topic {topic!r} for {SILENCE_SECONDS:g} s, "
                    f"{sum(end.values()) - sum(position.values())} messages before its end: check the broker"
                )
            if progress is not None:
                progress(sum(position.values()) - sum(begin.values()), total)
    if not columns[0]:
        spanned = since is not None or until is not None
        raise ClicksError(
            f"topic {topic!r} at {settings.broker} holds "
            f"{f'{skipped} messages, none of them a valid click' if skipped else 'no clicks'}"
            f"{' of the given span of time' if spanned else ''}: "
            f"produce some first (`nextclick produce FILE`){', or widen the span' if spanned else ''}"
        )
    frame = pl.DataFrame(
        [_ids("session_id", columns[0]), _ids("item_id", columns[1]), pl.Series("timestamp", columns[2])]
    )
    kept = without_repetitions(frame)
    offsets = {partition.partition: (begin[partition], end[partition]) for partition in partitions}
    return Clicks(kept, source=topic, offsets=offsets, skipped=skipped, repeated=len(frame) - len(kept))


_Columns = tuple[list[ItemId], list[ItemId], list[int]]


async def _bounds(
    consumer: AIOKafkaConsumer, partitions: list[TopicPartition], since: int | None
) -> tuple[dict[TopicPartition, int], dict[TopicPartition, int]]:
    """First offset to read and the one after the last, by partition; the consumer stands at the first."""
    begin: dict[TopicPartition, int] = await consumer.beginning_offsets(partitions)
    end: dict[TopicPartition, int] = await consumer.end_offsets(partitions)
    if since is not None:
        found = await consumer.offsets_for_times(dict.fromkeys(partitions, since))
        begin = {
            partition: found[partition].offset if found.get(partition) else end[partition] for partition in partitions
        }
    begin = {partition: min(begin[partition], end[partition]) for partition in partitions}
    for partition, offset in begin.items():
        consumer.seek(partition, offset)
    return begin, end


def _decode(
    records: Iterable["ConsumerRecord[bytes, bytes]"], since: int | None, until: int | None, columns: _Columns
) -> int:
    """Append the valid clicks to the columns; returns how many are not valid."""
    sessions, items, times = columns
    invalid = 0
    for record in records:
        try:
            click = decode_click(record.key, record.value)
        except InvalidClickError:
            invalid += 1
            continue
        assert isinstance(click.timestamp, int)
        if (since is None or click.timestamp >= since) and (until is None or click.timestamp < until):
            sessions.append(click.session_id)
            items.append(click.item_id)
            times.append(click.timestamp)
    return invalid


def _ids(name: str, ids: list[ItemId]) -> pl.Series:
    if all(isinstance(value, int) for value in ids):
        return pl.Series(name, ids, dtype=pl.Int64)
    return pl.Series(name, [str(value) for value in ids], dtype=pl.String)
