"""Send a table of clicks to the clicks topic: as fast as Kafka accepts it, or at a given rate."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from functools import lru_cache

import polars as pl
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.producer.message_accumulator import BatchBuilder

from clicklog.topic_span import click_consumer, click_partitions
from messaging.clients import connected, new_producer
from messaging.failures import kafka_reason
from schemas.click import ItemId
from schemas.click_encoder import EncodeClick, click_encoder
from schemas.click_times import RECORD
from schemas.errors import BrokerError, SettingsError
from schemas.settings import Settings

BATCH_BYTES = 256 * 1024
"""Size of one produce batch: about 3,000 clicks. Sizes from 64 KB to 512 KB give the same rate."""

TICK_SECONDS = 0.005
"""Shortest wait between two sends at a rate; clicks due within one tick are sent together."""

CHUNK = 4096
REQUEST_SECONDS = 30.0


async def send_clicks(
    settings: Settings,
    clicks: pl.DataFrame,
    *,
    rate: float | None = None,
    stop: asyncio.Event | None = None,
    progress: Callable[[int], None] = lambda _acknowledged: None,
) -> int:
    """Send clicks in time order (row order if they have no time); returns when Kafka has acknowledged them.

    Their form is that of NEXTCLICK_CLICK_FIELDS, NEXTCLICK_CLICK_TIME and NEXTCLICK_CLICK_WHERE.
    The key is the session id as text, so a session's clicks share a partition and keep their order. The record's
    timestamp is the time of sending: with the click's time, Kafka would delete clicks older than the retention at once.

    Args:
        settings: which broker and topic.
        clicks: columns session_id, item_id and timestamp (ms since 1970 UTC, or null throughout: a click is then
            stamped with the time of sending).
        rate: clicks per second, independent of how long Kafka's answers take; None: as fast as possible.
        stop: once set, no further clicks are taken from the table; clicks already taken are still sent.
        progress: called with the number of clicks acknowledged so far.

    Returns:
        The number n of sent clicks: the first n in time order.

    Raises:
        BrokerError: no broker answers, or it stops answering.
        SettingsError: the clicks cannot be written in the form that the settings say.
        TopicError: the topic does not exist.
    """
    encode = click_encoder(settings)
    if settings.click_time == RECORD and clicks["timestamp"].null_count() < len(clicks):
        raise SettingsError(
            "NEXTCLICK_CLICK_TIME=record says that messages have no time, and these clicks have: they would all be "
            "clicks of now; unset it, or leave out the column timestamp"
        )
    async with click_consumer(settings, "produce") as consumer:
        partitions = await click_partitions(consumer, settings)
    ordered = clicks.sort("timestamp", maintain_order=True)
    client = new_producer(settings, "produce", enable_idempotence=True, max_batch_size=BATCH_BYTES)
    sender = _Sender(client, settings.clicks_topic, len(partitions), encode, progress)
    try:
        async with connected(client, settings):
            async for chunk in _due(ordered, rate, stop or asyncio.Event()):
                await sender.add(chunk, at_once=rate is not None)
            await sender.finish()
    except KafkaError as error:
        raise BrokerError(
            f"Kafka at {settings.broker} took {sender.acknowledged} of {len(clicks)} clicks, then failed: "
            f"{kafka_reason(error)}"
        ) from error
    return sender.acknowledged


async def _due(clicks: pl.DataFrame, rate: float | None, stop: asyncio.Event) -> AsyncIterator[pl.DataFrame]:
    """The clicks in pieces, each when it is due."""
    begin, sent = time.monotonic(), 0
    while sent < len(clicks) and not stop.is_set():
        if rate is None:
            due = sent + CHUNK
        else:
            due = int((time.monotonic() - begin) * rate) + 1
            if due <= sent:
                await _sleep_or_stop(max(begin + sent / rate - time.monotonic(), TICK_SECONDS), stop)
                continue
        piece = clicks[sent : min(due, sent + CHUNK)]
        sent += len(piece)
        yield piece


async def _sleep_or_stop(seconds: float, stop: asyncio.Event) -> None:
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return


class _Sender:
    """Fills one batch per partition and counts the acknowledged clicks."""

    def __init__(
        self,
        producer: AIOKafkaProducer,
        topic: str,
        partitions: int,
        encode: EncodeClick,
        progress: Callable[[int], None],
    ) -> None:
        self.acknowledged = 0
        self._producer, self._topic, self._encode, self._progress = producer, topic, encode, progress
        self._filling: dict[int, BatchBuilder] = {}
        self._under_way: set[asyncio.Future[object]] = set()
        self._failure: BaseException | None = None
        partitioner, numbers = DefaultPartitioner(), list(range(partitions))

        @lru_cache(maxsize=100_000)
        def key_and_partition(session_id: ItemId) -> tuple[bytes, int]:
            key = str(session_id).encode()
            return key, partitioner(key, numbers, numbers)

        self._key_and_partition = key_and_partition

    async def add(self, clicks: pl.DataFrame, at_once: bool) -> None:
        """Put clicks into their partitions' batches. Full batches are sent; with `at_once` all batches are sent."""
        now = time.time_ns() // 1_000_000
        for session_id, item_id, timestamp in clicks.select("session_id", "item_id", "timestamp").iter_rows():
            key, partition = self._key_and_partition(session_id)
            value = self._encode(session_id, item_id, now if timestamp is None else timestamp)
            builder = self._filling.get(partition)
            while builder is None or builder.append(timestamp=now, key=key, value=value) is None:
                if builder is not None:
                    await self._send(partition)
                builder = self._filling[partition] = self._producer.create_batch()
        if at_once:
            await self._send_all()
        else:
            await asyncio.sleep(0)

    async def finish(self) -> None:
        """Send what is left and wait for every acknowledgement."""
        await self._send_all()
        if self._under_way:
            await asyncio.wait(self._under_way)
        if self._failure is not None:
            raise self._failure

    async def _send_all(self) -> None:
        for partition in list(self._filling):
            await self._send(partition)

    async def _send(self, partition: int) -> None:
        if self._failure is not None:
            raise self._failure
        batch = self._filling.pop(partition)
        batch.close()
        clicks = batch.record_count()
        future = await self._producer.send_batch(batch, self._topic, partition=partition)
        self._under_way.add(future)

        def acknowledged(done: asyncio.Future[object]) -> None:
            self._under_way.discard(done)
            if done.cancelled():
                return
            if (error := done.exception()) is not None:
                self._failure = self._failure or error
            else:
                self.acknowledged += clicks
                self._progress(self.acknowledged)

        future.add_done_callback(acknowledged)
