"""Time from the start of a worker with an empty disk to its first answer, and its memory, by stored sessions.

    uv run python -m benchmarks.recovery [--sessions 1000000] [--restarts 3]

Fills the changelog with packed states, starts a worker with an empty disk, and sends one click. Then the worker starts
again, with the disk that it has.
"""

import asyncio
import os
import time
from dataclasses import dataclass

import numpy as np
import polars as pl
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from benchmarks.answers import wait_for_answers
from benchmarks.arguments import parser_for
from benchmarks.contestants import Contestant, machine
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


async def first_answer(settings: Settings, worker: Contestant, at_least: int, seconds: float) -> None:
    """Send one click and wait until the worker has answered `at_least` clicks in all."""
    producer = AIOKafkaProducer(bootstrap_servers=settings.brokers)
    await producer.start()
    click = b'{"session_id":"new","item_id":1,"timestamp":1700000000000}'
    await producer.send_and_wait(settings.clicks_topic, click, key=b"new")
    await producer.stop()
    async with AIOKafkaConsumer(bootstrap_servers=settings.brokers) as consumer:
        await wait_for_answers(consumer, settings, worker, at_least, seconds, poll_seconds=0.05)


@dataclass(frozen=True)
class Start:
    """One start of a worker.

    Attributes:
        seconds: from the start of the process to its first answer.
        cpu_seconds: of the process until then.
        peak_memory_mb: resident, until then.
    """

    seconds: float
    cpu_seconds: float
    peak_memory_mb: float


@dataclass(frozen=True)
class Recovered:
    """Starts of a worker whose group has stored sessions.

    Attributes:
        sessions: how many are stored.
        starts: the first onto an empty disk, the others onto the disk that the one before left.
        store_bytes, changelog_bytes: of RocksDB's files and of the changelog, which has each session once.
    """

    sessions: int
    starts: list[Start]
    store_bytes: int
    changelog_bytes: int


async def measure(sessions: int, restarts: int, seconds: float) -> Recovered:
    """Fill the changelog; start a worker, and send it a click, several times."""
    with Stage() as stage:
        settings = stage.settings(app_id="recovery")
        await stage.create_topics(settings)
        catalogue = pl.DataFrame({"item_id": range(214_536_500, 214_536_500 + ITEMS)})
        bundle = model_for(Clicks(catalogue, "catalogue"), None, ITEMS)
        await stage.publish(bundle)
        await fill(settings, sessions, bundle.version)
        starts = []
        for number in range(restarts + 1):
            began = time.monotonic()
            with stage.running("worker", app_id="recovery") as worker:
                await first_answer(settings, worker, number + 1, seconds)
                took = time.monotonic() - began
                starts.append(Start(took, worker.cpu_seconds(), worker.peak_memory() / 1e6))
        return Recovered(
            sessions, starts, stage.store_bytes("worker", "recovery"), stage.topic_bytes(settings.changelog_topic)
        )


def main() -> None:
    """The command line."""
    parser = parser_for(__doc__)
    parser.add_argument("--sessions", type=int, default=1_000_000)
    parser.add_argument("--restarts", type=int, default=3, help="how often the worker starts again with its disk")
    parser.add_argument("--seconds", type=float, default=300, help="longest wait for an answer")
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    heading = machine()
    found = asyncio.run(measure(arguments.sessions, arguments.restarts, arguments.seconds))
    print(f"{heading}; {found.sessions:,} sessions, changelog {found.changelog_bytes / 1e6:,.0f} MB")
    print("| disk | start to first answer, s | CPU s | peak memory, MB |\n|---|---|---|---|")
    for number, start in enumerate(found.starts):
        disk = "kept" if number else "empty"
        print(f"| {disk} | {start.seconds:.1f} | {start.cpu_seconds:.1f} | {start.peak_memory_mb:,.0f} |")


if __name__ == "__main__":
    main()
