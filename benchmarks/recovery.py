"""Time from the start of a worker with an empty disk to its first answer, and its memory, by stored sessions.

    uv run python -m benchmarks.recovery --sessions 1000000

Fills the changelog with packed states, starts a worker with an empty disk, and sends one click.
"""

import argparse
import asyncio
import os
import time

import numpy as np
import polars as pl
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from benchmarks.answers import wait_for_answers
from benchmarks.contestants import Contestant
from benchmarks.stage import Stage, model_for
from clicklog.clicks import Clicks
from schemas.click import ItemId
from schemas.settings import Settings
from worker.delivery.outage import Outage
from worker.delivery.publisher import OutgoingRecord, Publisher
from worker.session_state import ModelState, SessionState, pack

ITEMS, HIDDEN, CLICKS = 2500, 100, 5
CHUNK = 20_000


async def fill(settings: Settings, sessions: int, version: str) -> None:
    """Write one state per session to the changelog."""
    producer = AIOKafkaProducer(bootstrap_servers=settings.brokers, max_batch_size=1 << 20)
    await producer.start()
    publisher = Publisher(lambda: producer, settings, Outage())
    now = time.time_ns() // 1_000_000
    history: list[ItemId] = list(range(214_536_500, 214_536_500 + CLICKS))
    top: list[ItemId] = list(range(214_536_500, 214_536_520))
    for first in range(0, sessions, CHUNK):
        records: dict[int, list[OutgoingRecord]] = {number: [] for number in range(settings.partitions)}
        hidden = np.random.default_rng(first).standard_normal((CHUNK, HIDDEN)).astype(np.float32)
        for number in range(first, min(first + CHUNK, sessions)):
            partition = number % settings.partitions
            served = ModelState(version, hidden[number - first].tobytes(), top, "model")
            state = SessionState(partition, number // settings.partitions, now, now, history, served)
            records[partition].append((f"session-{number}".encode(), pack(state), None))
        await publisher.publish(settings.changelog_topic, records, lambda: True)
    await producer.stop()


async def first_answer(settings: Settings, worker: Contestant, seconds: float) -> None:
    """Send one click and wait for its answer."""
    producer = AIOKafkaProducer(bootstrap_servers=settings.brokers)
    await producer.start()
    click = b'{"session_id":"new","item_id":1,"timestamp":1700000000000}'
    await producer.send_and_wait(settings.clicks_topic, click, key=b"new")
    await producer.stop()
    async with AIOKafkaConsumer(bootstrap_servers=settings.brokers) as consumer:
        await wait_for_answers(consumer, settings, worker, at_least=1, seconds=seconds, poll_seconds=0.05)


async def measure(sessions: int, seconds: float) -> None:
    """Fill the changelog, start the worker, send a click, and print the figures."""
    with Stage() as stage:
        settings = stage.settings(app_id="recovery")
        await stage.create_topics(settings)
        catalogue = pl.DataFrame({"item_id": range(214_536_500, 214_536_500 + ITEMS)})
        bundle = model_for(Clicks(catalogue, "catalogue"), None, ITEMS)
        await stage.publish(bundle)
        began = time.monotonic()
        await fill(settings, sessions, bundle.version)
        print(f"changelog of {sessions:,} sessions written in {time.monotonic() - began:.0f} s", flush=True)
        began = time.monotonic()
        with stage.running("worker", app_id="recovery") as worker:
            await first_answer(settings, worker, seconds)
            took = time.monotonic() - began
            cpu = worker.cpu_seconds()
            print(f"{'sessions':>12} {'start to first answer, s':>26} {'CPU s':>8} {'peak memory, MB':>16}")
            print(f"{sessions:>12,} {took:>26.1f} {cpu:>8.1f} {worker.peak_memory() / 1e6:>16.0f}")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sessions", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=300)
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    asyncio.run(measure(arguments.sessions, arguments.seconds))


if __name__ == "__main__":
    main()
