"""The plain Faust idiom, with the traffic of nextclick's worker but no model.

Every click reads and writes a 600-byte state in a RocksDB table (with its changelog) and sends a 600-byte JSON answer.
Run by `benchmarks.throughput` as `python -m benchmarks.plain_faust worker`.
"""

from typing import Any

import faust

from benchmarks.raw_kafka import ANSWER_BYTES
from schemas.settings import load_settings

STATE_BYTES = 600
PADDING = "x" * (ANSWER_BYTES - 100)  # a click takes about a hundred bytes

settings = load_settings()
app = faust.App(
    settings.app_id,
    broker=[f"kafka://{server}" for server in settings.brokers],
    datadir=str(settings.data_dir),
    store="rocksdb://",
    topic_partitions=settings.partitions,
    topic_allow_declare=False,  # the benchmark creates the topics, including the changelog
    topic_disable_leader=True,
    consumer_auto_offset_reset="earliest",
    producer_linger=0.02,
)
clicks = app.topic(settings.clicks_topic, key_type=bytes)  # Faust's default: the value is JSON
recommendations = app.topic(settings.recommendations_topic, key_type=bytes)
sessions = app.Table(
    "sessions",
    key_type=bytes,
    value_type=bytes,
    partitions=settings.partitions,
    options={"driver": "rocksdict", "block_cache_size": 64 << 20, "bloom_filter_size": 10},
)


@app.agent(clicks)  # type: ignore[untyped-decorator]
async def answer(stream: Any) -> None:
    async for event in stream.events():
        click = event.value
        before = sessions.get(event.key) or b""
        clicked = str(click["item_id"]).encode()
        sessions[event.key] = (clicked + b"," + before)[:STATE_BYTES].ljust(STATE_BYTES)
        recommendation = click | {"padding": PADDING}
        await recommendations.send(key=event.key, value=recommendation, partition=event.message.partition)


if __name__ == "__main__":
    app.main()
