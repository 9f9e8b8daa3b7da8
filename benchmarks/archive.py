"""How fast clicks go into the archive, and how fast a log becomes sessions to train on.

    python -m benchmarks.archive rate --clicks 1000000        archiver beside a bare consumer that discards
    python -m benchmarks.archive sessions --clicks 10000000   sessions to train on, and the peak memory

`rate` starts a broker, runs the two in turn over the same topic, each from the first message to the last, and prints
the median of the runs. `sessions` first writes an archive of synthetic clicks (not timed), and then reads it in a
separate process, whose peak memory is printed.
"""

import argparse
import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("POLARS_MAX_THREADS", "2")

import numpy as np
import polars as pl
from aiokafka import AIOKafkaConsumer, TopicPartition

from clicklog.archive.archive_file import ArchiveFile
from clicklog.archive.archiver import Archiver
from clicklog.archive.content import open_file
from clicklog.archive.files import Archive, resolve
from schemas.settings import Settings

PARTITIONS = 8
GAP_MS = 30 * 60_000
START = 1_790_000_000_000
FILE_CLICKS = 250_000


def rate(clicks: int, runs: int) -> dict[str, float]:
    """Clicks per second of the archiver and of a consumer that discards every message."""
    from benchmarks.stage import Stage
    from clicklog.topic_writer import send_clicks

    with Stage() as stage:
        settings = stage.settings(app_id="archive")
        asyncio.run(stage.create_topics(settings))
        for begin in range(0, clicks, 500_000):
            asyncio.run(send_clicks(settings, synthetic(min(500_000, clicks - begin), seed=begin)))
        bare, archived, cpu = [], [], []
        for run in range(runs):
            bare.append(clicks / asyncio.run(discard(settings)))
            with tempfile.TemporaryDirectory(prefix="nextclick-benchmark-") as scratch:
                one = settings.model_copy(update={"archive_uri": f"{scratch}/archive"})
                began, began_cpu = time.perf_counter(), time.process_time()
                archiver = Archiver(one)
                asyncio.run(archiver.run(asyncio.Event(), once=True))
                archived.append(clicks / (time.perf_counter() - began))
                cpu.append((time.process_time() - began_cpu) / clicks * 1e6)
                assert archiver.done.clicks == clicks
            print(f"run {run + 1}: bare {bare[-1]:,.0f}/s, archiver {archived[-1]:,.0f}/s", file=sys.stderr)
    return {
        "bare consumer, clicks/s": round(statistics.median(bare)),
        "archiver, clicks/s": round(statistics.median(archived)),
        "share": round(statistics.median(archived) / statistics.median(bare), 3),
        "archiver, CPU us per click": round(statistics.median(cpu), 2),
    }


async def discard(settings: Settings) -> float:
    """Seconds to read the whole topic and discard it."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.brokers, enable_auto_commit=False, max_partition_fetch_bytes=4 << 20
    )
    began = time.perf_counter()
    await consumer.start()
    try:
        partitions = [TopicPartition(settings.clicks_topic, number) for number in range(settings.partitions)]
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        end = await consumer.end_offsets(partitions)
        while any([await consumer.position(partition) < end[partition] for partition in partitions]):
            await consumer.getmany(timeout_ms=200)
    finally:
        await consumer.stop()
    return time.perf_counter() - began


def synthetic(clicks: int, seed: int = 0, sessions: int = 0, step_ms: int = 10) -> pl.DataFrame:
    """Clicks in order of time: 6.7 a session, item popularity by Zipf's law over 50,000 items."""
    rng = np.random.default_rng(seed)
    visits = sessions or max(clicks // 7, 1)
    place = np.arange(clicks)
    near = np.clip(place / 6.7 + rng.exponential(60, clicks), 0, visits - 1)  # a session's clicks are close together
    return pl.DataFrame(
        {
            "session_id": near.astype(np.int64) + seed * 10,
            "item_id": np.minimum(rng.zipf(1.3, clicks), 50_000),
            "timestamp": START + (seed + place) * step_ms,
        }
    )


def write_archive(uri: str, clicks: int) -> None:
    """An archive of synthetic clicks, as the archiver would have written it."""
    archive = Archive(uri, "clicks")
    offsets = np.zeros(PARTITIONS, dtype=np.int64)
    for begin in range(0, clicks, FILE_CLICKS * PARTITIONS):
        frame = synthetic(min(FILE_CLICKS * PARTITIONS, clicks - begin), seed=begin)
        for partition in range(PARTITIONS):
            part = frame.filter(pl.col("session_id") % PARTITIONS == partition)
            first = int(offsets[partition])
            part = part.with_columns(pl.int_range(first, first + len(part)).alias("offset"))
            offsets[partition] += len(part)
            oldest, newest = int(part["timestamp"].min()), int(part["timestamp"].max())  # type: ignore[arg-type]
            archive.write(
                ArchiveFile(partition, first, first + len(part), "2026-11-24", oldest, newest), part, skipped=0
            )


def sessions_of_archive(uri: str) -> dict[str, float]:
    """Sessions of an archive, ready to train on, as a full retraining makes them; run in a separate process."""
    from clicklog.filters import filter_clicks
    from clicklog.items import ItemIndex
    from clicklog.log import ClickLog
    from clicklog.sessions import cut_by_silence, sessions_of

    before = resource.getrusage(resource.RUSAGE_SELF)
    began = time.perf_counter()
    archive = Archive(uri, "clicks")
    slices, _ = resolve(archive.files())
    log = ClickLog(uri, None, None)
    for piece in slices:
        log.add(piece.file.partition, open_file(Path(archive.path(piece.file))).frame)
    clicks = log.clicks().frame
    kept = filter_clicks(cut_by_silence(clicks, GAP_MS))
    items = ItemIndex.of(kept)
    found = sessions_of(kept, items)
    after = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "clicks": len(clicks),
        "sessions": len(found),
        "items": len(items),
        "seconds": round(time.perf_counter() - began, 2),
        "CPU seconds": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 2),
        "peak memory, GB": round(after.ru_maxrss / 2**20, 2),
    }


def sessions(clicks: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="nextclick-benchmark-") as scratch:
        write_archive(scratch, clicks)
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.archive", "of-archive", "--uri", scratch],
            stdout=subprocess.PIPE,
            check=True,
            cwd=Path(__file__).parents[1],
        )
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["rate", "sessions", "of-archive"])
    parser.add_argument("--clicks", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--uri")
    options = parser.parse_args()
    if options.what == "rate":
        figures = rate(options.clicks, options.runs)
    elif options.what == "sessions":
        figures = sessions(options.clicks)
    else:
        figures = sessions_of_archive(options.uri)
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
