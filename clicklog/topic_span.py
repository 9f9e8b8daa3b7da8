"""Reading a span of the clicks topic: of every partition the offsets from one to another, and no more.

async with click_consumer(settings, "trainer") as consumer:
    partitions = await click_partitions(settings)
    consumer.assign(partitions)
    spans = await open_spans(consumer, partitions, since)
    columns = await read_spans(consumer, spans, settings)
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from clicklog.columns import ClickColumns
from messaging.clients import admin, connected
from messaging.topics import existing_topics, missing_topics
from schemas.errors import BrokerError, TopicError
from schemas.settings import Settings

SILENCE_SECONDS = 30.0
"""The broker said that there is more, and sends none of it for this long: give up."""

POLL_MILLISECONDS = 500
FETCH_BYTES = 4 << 20
"""Of one partition and fetch."""


@dataclass
class PartitionSpan:
    """The offsets of one partition that are to be read, `first` to `end` (exclusive).

    Attributes:
        partition: of the clicks topic.
        begins: the first offset that the topic still has.
        first: the first offset to read.
        end: the offset after the last one.
    """

    partition: TopicPartition
    begins: int
    first: int
    end: int

    @property
    def number(self) -> int:
        """The partition's number."""
        return int(self.partition.partition)


async def click_partitions(settings: Settings) -> list[TopicPartition]:
    """The partitions of the clicks topic.

    Raises:
        BrokerError: no broker answers.
        TopicError: the topic does not exist.
    """
    topic = settings.clicks_topic
    async with admin(settings) as client:
        existing = await existing_topics(client, [topic])
    if topic not in existing:
        raise TopicError(missing_topics([topic], settings))
    return [TopicPartition(topic, number) for number in range(existing[topic].partitions)]


@contextlib.asynccontextmanager
async def click_consumer(settings: Settings, role: str, **options: Any) -> AsyncIterator[AIOKafkaConsumer]:
    """A started consumer that commits nothing by itself.

    Args:
        settings: broker, and the application id that the client's name begins with.
        role: the end of the client's name.
        options: more of AIOKafkaConsumer's options.

    Raises:
        BrokerError: as `messaging.clients.connected`.
    """
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.brokers,
        client_id=f"{settings.app_id}-{role}",
        enable_auto_commit=False,
        auto_offset_reset="earliest",  # where a retention has deleted the next offset, go on at the first one left
        max_partition_fetch_bytes=FETCH_BYTES,
        **options,
    )
    async with connected(consumer, settings):
        yield consumer


async def open_spans(
    consumer: AIOKafkaConsumer, partitions: Sequence[TopicPartition], since: int | None = None
) -> list[PartitionSpan]:
    """The spans from the first offset of each partition to the end that it has now.

    Args:
        consumer: started.
        partitions: to look at.
        since: begin at the first message of that time by Kafka's clock, ms since 1970 UTC; at the end where there is
            none.
    """
    begins = await consumer.beginning_offsets(partitions)
    ends = await consumer.end_offsets(partitions)
    firsts = begins
    if since is not None:
        found = await consumer.offsets_for_times(dict.fromkeys(partitions, since))
        firsts = {p: found[p].offset if found.get(p) else ends[p] for p in partitions}
    return [PartitionSpan(p, min(begins[p], ends[p]), min(firsts[p], ends[p]), ends[p]) for p in partitions]


async def read_spans(
    consumer: AIOKafkaConsumer,
    spans: Sequence[PartitionSpan],
    settings: Settings,
    since: int | None = None,
    until: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[int, ClickColumns]:
    """Read spans to their ends.

    Args:
        consumer: to which the spans' partitions, and no others, are assigned.
        spans: to read.
        settings: name the broker in errors.
        since: keep only clicks from then on, by their own time, ms since 1970 UTC.
        until: keep only clicks before then.
        progress: called after each fetch with the offsets read so far and in all.

    Returns:
        partition number → its clicks, by offset.

    Raises:
        BrokerError: the broker sends nothing for `SILENCE_SECONDS`.
    """
    clock = asyncio.get_running_loop().time
    columns = {span.number: ClickColumns.between(since, until) for span in spans}
    left = {span.number: span.end - span.first for span in spans}
    for span in spans:
        consumer.seek(span.partition, span.first)
        if not left[span.number]:
            consumer.pause(span.partition)
    total, heard = sum(left.values()), clock()
    while to_come := sum(left.values()):
        await _read_more(consumer, spans, left, columns)
        still_to_come = sum(left.values())
        if still_to_come < to_come:
            heard = clock()
        elif clock() - heard > SILENCE_SECONDS:
            raise BrokerError(_silent(settings, still_to_come))
        if progress is not None:
            progress(total - still_to_come, total)
    return columns


async def _read_more(
    consumer: AIOKafkaConsumer, spans: Sequence[PartitionSpan], left: dict[int, int], columns: dict[int, ClickColumns]
) -> None:
    """One fetch: add its clicks to the columns, and set how many offsets of each partition are left."""
    unread = [span for span in spans if left[span.number]]
    fetched = await consumer.getmany(*(span.partition for span in unread), timeout_ms=POLL_MILLISECONDS)
    for span in unread:
        records = fetched.get(span.partition, [])
        columns[span.number].add([record for record in records if record.offset < span.end])
        # From the consumer, since the last offset may hold no message (transactions, compaction).
        left[span.number] = max(span.end - await consumer.position(span.partition), 0)
        if not left[span.number]:
            consumer.pause(span.partition)


def _silent(settings: Settings, still_to_come: int) -> str:
    return (
        f"{settings.broker} has sent nothing of topic {settings.clicks_topic!r} for {SILENCE_SECONDS:g} s, "
        f"{still_to_come} messages before its end: check the broker"
    )
