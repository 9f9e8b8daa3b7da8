"""Open-loop load: every click has a due time, and its latency counts from there to the arrival of its answer.

The load does not wait for a contestant that falls behind. A delay in sending counts as latency, too.
"""

import asyncio
import time
from dataclasses import dataclass

import msgspec
import numpy as np
import polars as pl
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.partitioner import DefaultPartitioner

from benchmarks.answers import partitions_of
from schemas.click_encoder import EncodedClick
from schemas.settings import Settings

TICK_SECONDS = 0.001
"""Clicks that fall due within one tick are sent together."""

STRAGGLER_SECONDS = 20.0
"""How long to wait for answers after the last click."""


class _AnsweredClick(msgspec.Struct, gc=False):
    """The fields of an answer that name its click and its model; a raw echo has no model."""

    timestamp: int
    model_version: str | None = None


@dataclass
class Load:
    """The results of one run of load; one array element per click.

    Attributes:
        due: seconds, monotonic clock.
        sent: when the click was handed to the producer.
        answered: when its answer arrived; NaN without an answer.
        versions: index of the first click that each model version answered, in order.
        twice: answers beyond the first of a click.
    """

    due: np.ndarray
    sent: np.ndarray
    answered: np.ndarray
    versions: dict[str | None, int]
    twice: int = 0

    @property
    def latencies(self) -> np.ndarray:
        """Milliseconds from due to answered; infinite without an answer."""
        latencies: np.ndarray = np.nan_to_num((self.answered - self.due) * 1000, nan=np.inf)
        return latencies


class LoadGenerator:
    """Sends clicks to one clicks topic at a rate and receives the answers from one recommendations topic.

    The timestamp identifies a click, so every click needs a different one (as from `benchmarks.clickload.interleaved`).
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._partitions = list(range(settings.partitions))
        self._producer = AIOKafkaProducer(bootstrap_servers=settings.brokers)
        self._consumer = AIOKafkaConsumer(bootstrap_servers=settings.brokers)

    async def __aenter__(self) -> "LoadGenerator":
        await self._producer.start()
        await self._consumer.start()
        topic = self._settings.recommendations_topic
        assignment = partitions_of(topic, self._settings)
        self._consumer.assign(assignment)
        await self._consumer.seek_to_end(*assignment)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._producer.stop()
        await self._consumer.stop()

    async def run(self, clicks: pl.DataFrame, rate: float) -> Load:
        """Send `rate` clicks per second, and wait for the answers."""
        encoded, partitions = self._encode(clicks)
        first = int(clicks["timestamp"][0])
        due = time.monotonic() + 0.1 + np.arange(len(encoded)) / rate
        load = Load(due, np.full(len(encoded), np.nan), np.full(len(encoded), np.nan), {})
        receiving = asyncio.create_task(self._receive(first, load))
        await self._send(encoded, partitions, load)
        await asyncio.wait([receiving], timeout=STRAGGLER_SECONDS)
        receiving.cancel()
        return load

    def _encode(self, clicks: pl.DataFrame) -> tuple[list[tuple[bytes, bytes]], list[int]]:
        encode, partitioner = msgspec.json.Encoder().encode, DefaultPartitioner()
        encoded = [
            (str(session).encode(), encode(EncodedClick(session, item, timestamp)))
            for session, item, timestamp in clicks.select("session_id", "item_id", "timestamp").iter_rows()
        ]
        return encoded, [partitioner(key, self._partitions, self._partitions) for key, _ in encoded]

    async def _send(self, encoded: list[tuple[bytes, bytes]], partitions: list[int], load: Load) -> None:
        done = 0
        while done < len(encoded):
            now = time.monotonic()
            ready = int(np.searchsorted(load.due, now, side="right"))
            if ready == done:
                await asyncio.sleep(max(load.due[done] - now, TICK_SECONDS))
                continue
            batches = {}
            for (key, value), partition in zip(encoded[done:ready], partitions[done:ready], strict=True):
                if partition not in batches:
                    batches[partition] = self._producer.create_batch()
                while batches[partition].append(timestamp=None, key=key, value=value) is None:
                    await self._producer.send_batch(
                        batches[partition], self._settings.clicks_topic, partition=partition
                    )
                    batches[partition] = self._producer.create_batch()
            for partition, batch in batches.items():
                await self._producer.send_batch(batch, self._settings.clicks_topic, partition=partition)
            load.sent[done:ready] = time.monotonic()
            done = ready
            await asyncio.sleep(0)

    async def _receive(self, first: int, load: Load) -> None:
        decode = msgspec.json.Decoder(_AnsweredClick).decode
        missing = len(load.due)
        fetched: dict[TopicPartition, list[ConsumerRecord[bytes, bytes]]] = {}
        while missing or fetched:  # a repeated answer may come after the last first one
            fetched = await self._consumer.getmany(timeout_ms=500)
            now = time.monotonic()
            for records in fetched.values():
                for record in records:
                    answer = decode(record.value)
                    place = answer.timestamp - first
                    if not 0 <= place < len(load.due):
                        continue
                    if np.isnan(load.answered[place]):
                        load.answered[place] = now
                        load.versions.setdefault(answer.model_version, place)
                        missing -= 1
                    else:
                        load.twice += 1
