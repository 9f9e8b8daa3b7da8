"""Reading a span of the clicks topic: a range of offsets of every partition.

async with click_consumer(settings, "trainer") as consumer:
    partitions = await click_partitions(consumer, settings)
    consumer.assign(partitions)
    spans = await open_spans(consumer, partitions, since)
    columns = await read_spans(consumer, spans, settings)
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from clicklog.columns import ClickColumns
from messaging.clients import connected, new_consumer
from messaging.topics import missing_topics, partition_counts
from schemas.click_decoder import click_decoder
from schemas.errors import BrokerError, TopicError
from schemas.settings import Settings

SILENCE_SECONDS = 30.0
"""Give up when the broker sends nothing for this long although the span has not been read to its end."""

POLL_MILLISECONDS = 500
FETCH_BYTES = 4 << 20
"""Per partition and fetch."""


@dataclass
class PartitionSpan:
    """The offsets of one partition to read, from `first` to `end` (exclusive).

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


async def click_partitions(
    consumer: AIOKafkaConsumer, settings: Settings, topic: str | None = None
) -> list[TopicPartition]:
    """The partitions of the clicks topic, or of another one.

    Args:
        consumer: started; needs no assignment.
        settings: name the clicks topic.
        topic: the other one.

    Raises:
        TopicError: the topic does not exist.
    """
    topic = topic or settings.clicks_topic
    counts = await partition_counts(consumer, [topic])
    if topic not in counts:
        raise TopicError(missing_topics([topic], settings))
    return [TopicPartition(topic, number) for number in range(counts[topic])]


@contextlib.asynccontextmanager
async def click_consumer(settings: Settings, role: str, **options: Any) -> AsyncIterator[AIOKafkaConsumer]:
    """A started consumer without automatic commits.

    Args:
        settings: broker, and the application id, which is the first part of the client id.
        role: the last part of the client id.
        options: further options of AIOKafkaConsumer.

    Raises:
        BrokerError: as `messaging.clients.connected`.
    """
    client = new_consumer(settings, role, max_partition_fetch_bytes=FETCH_BYTES, **options)
    async with connected(client, settings):
        yield client


async def open_spans(
    consumer: AIOKafkaConsumer, partitions: Sequence[TopicPartition], since: int | None = None
) -> list[PartitionSpan]:
    """The spans from the first offset of each partition to its present end.

    Args:
        consumer: started.
        partitions: one span for each.
        since: begin at the first message with this Kafka timestamp or a later one, ms since 1970 UTC; at the end if
            there is none.
    """
    begins = await consumer.beginning_offsets(partitions)
    ends = await consumer.end_offsets(partitions)
    firsts = begins
    if since is not None:
        found = await consumer.offsets_for_times(dict.fromkeys(partitions, since))
        firsts = {p: found[p].offset if found.get(p) else ends[p] for p in partitions}
    return [PartitionSpan(p, min(begins[p], ends[p]), min(firsts[p], ends[p]), ends[p]) for p in partitions]


async def first_since(consumer: AIOKafkaConsumer, span: PartitionSpan, since: int) -> int:
    """Offset of the first message with this Kafka timestamp (ms since 1970 UTC) or a later one; else the end."""
    found = (await consumer.offsets_for_times({span.partition: since}))[span.partition]
    return span.end if found is None else min(int(found.offset), span.end)


async def span_records(
    consumer: AIOKafkaConsumer, spans: Sequence[PartitionSpan], settings: Settings, most: int | None = None
) -> "AsyncIterator[tuple[dict[int, list[ConsumerRecord[bytes, bytes]]], int]]":
    """Read the messages of spans to their ends.

    Args:
        consumer: must be assigned exactly the spans' partitions.
        spans: to read.
        settings: the broker for error messages.
        most: messages of one fetch; None: all that came.

    Yields:
        after each fetch, partition number → its new messages, by offset, and the number of offsets still to come.

    Raises:
        BrokerError: the broker sends nothing for `SILENCE_SECONDS`.
    """
    clock = asyncio.get_running_loop().time
    left = {span.number: span.end - span.first for span in spans}
    for span in spans:
        consumer.seek(span.partition, span.first)
        if not left[span.number]:
            consumer.pause(span.partition)
    silent = 0.0  # seconds of fetches without a message; what the caller does meanwhile does not count
    while to_come := sum(left.values()):
        unread = [span for span in spans if left[span.number]]
        partitions, asked = (span.partition for span in unread), clock()
        fetched = await consumer.getmany(*partitions, timeout_ms=POLL_MILLISECONDS, max_records=most)
        for span in unread:
            # The consumer's position, because the last offset may have no message (transactions, compaction).
            left[span.number] = max(span.end - await consumer.position(span.partition), 0)
            if not left[span.number]:
                consumer.pause(span.partition)
        still_to_come = sum(left.values())
        silent = 0.0 if still_to_come < to_come else silent + clock() - asked
        if silent > SILENCE_SECONDS:
            raise BrokerError(_silent(settings, spans[0].partition.topic, still_to_come))
        yield (
            {
                span.number: [record for record in fetched.get(span.partition, []) if record.offset < span.end]
                for span in unread
            },
            still_to_come,
        )


async def read_spans(
    consumer: AIOKafkaConsumer,
    spans: Sequence[PartitionSpan],
    settings: Settings,
    since: int | None = None,
    until: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[int, ClickColumns]:
    """Read the clicks of spans to their ends.

    Args:
        consumer: must be assigned exactly the spans' partitions.
        spans: to read.
        settings: the form of the messages; the broker for error messages.
        since: keep only clicks from this time on, by the click's own time, ms since 1970 UTC.
        until: keep only clicks before this time.
        progress: called after each fetch with the number of offsets read so far and in total.

    Returns:
        partition number → its clicks, by offset.

    Raises:
        BrokerError: as `span_records`.
    """
    decode = click_decoder(settings)
    columns = {span.number: ClickColumns.between(since, until, decode) for span in spans}
    total = sum(span.end - span.first for span in spans)
    async for records, still_to_come in span_records(consumer, spans, settings):
        for number, found in records.items():
            columns[number].add(found)
        if progress is not None:
            progress(total - still_to_come, total)
    return columns


def _silent(settings: Settings, topic: str, still_to_come: int) -> str:
    return (
        f"{settings.broker} has sent nothing of topic {topic!r} for {SILENCE_SECONDS:g} s, "
        f"{still_to_come} messages before its end: check the broker"
    )
