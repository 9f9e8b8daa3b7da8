"""Clicks on a topic, and archivers as processes."""

import asyncio
import pickle
import random
import subprocess
import sys
from collections.abc import Iterable, Sequence

import msgspec
import polars as pl
from aiokafka import AIOKafkaProducer

from clicklog.archive.archive_file import ArchiveFile
from clicklog.archive.incarnations import chains
from schemas.settings import Settings

START = 1_790_000_000_000
"""Time of the first click, ms since 1970."""

_ARCHIVER = """
import asyncio, pickle, sys
from clicklog.archive import archiver
settings = pickle.loads(bytes.fromhex(sys.argv[1]))
archiver.FILE_CLICKS, archiver.COMPACT_SECONDS, archiver.GROUP_TIMEOUT_MS = 40, 0.3, 6_000
asyncio.run(archiver.Archiver(settings).run(asyncio.Event()))
"""


def ends(files: Iterable[ArchiveFile]) -> dict[int, int]:
    """Partition → the offset where the archive of its newest incarnation ends."""
    return {chain.partition: chain.end for chain in chains(files)}


def some_clicks(count: int, first: int = 0, sessions: int = 200) -> list[tuple[str, int, int]]:
    """(session, item, time); each item occurs once, so it identifies its click."""
    rng = random.Random(first)
    return [(f"s{rng.randrange(sessions)}", first + place, START + (first + place) * 100) for place in range(count)]


def produce(settings: Settings, clicks: Sequence[tuple[str, int, int]]) -> None:
    produce_raw(
        settings,
        [
            (session.encode(), msgspec.json.encode({"session_id": session, "item_id": item, "timestamp": moment}))
            for session, item, moment in clicks
        ],
    )


def produce_raw(
    settings: Settings, messages: Sequence[tuple[bytes | None, bytes | None]], taken_in: int | None = None
) -> None:
    async def send() -> None:
        producer = AIOKafkaProducer(bootstrap_servers=settings.brokers, linger_ms=5)
        await producer.start()
        futures = [
            await producer.send(settings.clicks_topic, value, key=key, timestamp_ms=taken_in) for key, value in messages
        ]
        await asyncio.gather(*futures)
        await producer.stop()

    asyncio.run(send())


def rows(frame: pl.DataFrame) -> list[tuple[str, int, int]]:
    return sorted(frame.select("session_id", "item_id", "timestamp").rows(), key=lambda row: row[2])


class Archivers:
    """Archiver processes that write many small files."""

    def __init__(self) -> None:
        self.processes: list[subprocess.Popen[str]] = []

    def start(self, settings: Settings) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", _ARCHIVER, pickle.dumps(settings).hex()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.processes.append(process)
        return process

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()
            if process.stderr is not None:
                process.stderr.close()
