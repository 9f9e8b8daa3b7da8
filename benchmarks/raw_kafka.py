"""A consume-and-produce loop on aiokafka alone: the upper limit of Kafka and its Python client.

    python -m benchmarks.raw_kafka bytes    every click is sent back unchanged, padded to the size of a recommendation
    python -m benchmarks.raw_kafka json     every click is decoded, and a recommendation of 20 items is encoded for it

Records are fetched and produced in bulk. Once a second the offsets of acknowledged answers are committed. There is no
state and no changelog. Run by `benchmarks.throughput` and `benchmarks.latency`, with settings from the environment.
"""

import asyncio
import contextlib
import signal
import sys
from collections.abc import Callable
from time import monotonic
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from schemas.click import decode_click
from schemas.recommendation import EncodedRecommendation, encode_recommendation
from schemas.settings import Settings, load_settings

ANSWER_BYTES = 600
BATCH_BYTES = 1 << 20
COMMIT_SECONDS = 1.0
FETCH_RECORDS = 4000
"""Upper limit. Without it, the first answers come after most of a backlog has been read, and nothing can be timed."""

PADDING = b"x" * ANSWER_BYTES
SCORES = [round(1 / place, 4) for place in range(1, 21)]


def by_bytes(record: Any) -> bytes:
    return bytes(record.value[:-1] + b',"padding":"' + PADDING[len(record.value) :] + b'"}')


def by_json(record: Any) -> bytes:
    click = decode_click(record.key, record.value)
    assert isinstance(click.timestamp, int)
    items = [click.item_id] * 20
    name = f"{record.partition}-{record.offset}"
    return encode_recommendation(
        EncodedRecommendation(name, click.session_id, click.item_id, click.timestamp, items, SCORES, "none", "model")
    )


async def answer(settings: Settings, answer_to: Callable[[Any], bytes]) -> None:
    consumer = AIOKafkaConsumer(
        settings.clicks_topic,
        bootstrap_servers=settings.brokers,
        group_id=settings.app_id,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    producer = AIOKafkaProducer(bootstrap_servers=settings.brokers, acks="all", max_batch_size=BATCH_BYTES)
    topic = settings.recommendations_topic
    stored: dict[TopicPartition, int] = {}
    committed = monotonic()
    before: list[Any] = []
    async with consumer, producer:
        while True:
            fetched = await consumer.getmany(timeout_ms=200, max_records=FETCH_RECORDS)
            sent = []
            for tp, records in fetched.items():
                batch = producer.create_batch()
                for record in records:
                    value = answer_to(record)
                    while batch.append(timestamp=None, key=record.key, value=value) is None:
                        sent.append(await producer.send_batch(batch, topic, partition=tp.partition))
                        batch = producer.create_batch()
                sent.append(await producer.send_batch(batch, topic, partition=tp.partition))
            await asyncio.gather(*before)  # of the previous fetch: they are sent while the next one is read
            if stored and monotonic() - committed > COMMIT_SECONDS:
                await consumer.commit(stored)
                committed = monotonic()
            before = sent
            stored |= {tp: records[-1].offset + 1 for tp, records in fetched.items()}


async def main() -> None:
    answer_to = {"bytes": by_bytes, "json": by_json}[sys.argv[1]]
    answering = asyncio.create_task(answer(load_settings(), answer_to))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, answering.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await answering


if __name__ == "__main__":
    asyncio.run(main())
