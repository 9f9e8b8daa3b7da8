"""Archive and topic as one log of clicks: every offset once, by a span of time, with what is missing said.

log = open_log(settings, since=time.time_ns() // 1_000_000 - 7 * DAY_MS)
for line in log.missing: print(line)
clicks = log.clicks()                     # a table in memory, as `trainer.train` takes it
for part in log.partitions(): ...         # lazily, one partition of the topic at a time: a session never spans two
"""

import asyncio
import tempfile
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import polars as pl
from aiokafka import AIOKafkaConsumer, TopicPartition

from clicklog.archive.compaction import skipped_in
from clicklog.archive.files import COLUMNS, Archive, ArchiveFile, Slice, resolve
from clicklog.clicks import Clicks, without_repetitions
from clicklog.columns import ClickColumns
from messaging.clients import admin, connected
from messaging.topics import existing_topics, missing_topics
from schemas.durations import milliseconds
from schemas.errors import BrokerError, ClicksError, TopicError
from schemas.settings import Settings

SILENCE_SECONDS = 30.0
"""The broker said that there is more, and sends none of it for this long: give up."""

POLL_MILLISECONDS = 500
_SCHEMA = {**dict.fromkeys(COLUMNS, pl.Int64), "partition": pl.Int32}

LISTINGS = 5
"""How often an archive is listed anew where files are merged away while they are opened."""


@dataclass(frozen=True)
class Missing:
    """Messages of a partition that neither the archive nor the topic has any more."""

    partition: int
    first: int
    end: int
    after: int | None
    before: int | None

    def __str__(self) -> str:
        when = [f"{word} {_utc(moment)}" for word, moment in (("after", self.after), ("before", self.before)) if moment]
        return (
            f"partition {self.partition}: {self.end - self.first:,} messages (offsets {self.first} to {self.end - 1}"
            f"{', ' if when else ''}{' and '.join(when)}) are gone: deleted by a retention before they were archived"
        )


@dataclass
class ClickLog(AbstractContextManager["ClickLog"]):
    """The clicks of a span of time. Close it (or use `with`) to remove copies of remote files.

    Attributes:
        source: what was read, in words.
        since: clicks from then on, ms since 1970 UTC; None from the beginning.
        until: clicks before then; None to the end.
        offsets: partition → first offset that was looked at and the one after the last.
        missing: what a retention has eaten of the span.
        skipped: messages in the files and messages read that were no valid click.
        numbers: the id columns that are whole numbers throughout; the others are texts.
    """

    source: str
    since: int | None
    until: int | None
    offsets: dict[int, tuple[int, int]] = field(default_factory=dict)
    missing: list[Missing] = field(default_factory=list)
    skipped: int = 0
    numbers: dict[str, bool] = field(default_factory=dict)
    _parts: dict[int, list[pl.LazyFrame]] = field(default_factory=dict)
    _scratch: "tempfile.TemporaryDirectory[str] | None" = None

    def partitions(self) -> Iterator[pl.LazyFrame]:
        """Per partition of the topic its clicks, by offset: session_id, item_id, timestamp, offset, partition."""
        kinds = {name: pl.Int64 if number else pl.String for name, number in self.numbers.items()}
        for partition, parts in sorted(self._parts.items()):
            whole = pl.concat([part.cast(kinds) for part in parts])  # type: ignore[arg-type]
            if self.since is not None:
                whole = whole.filter(pl.col("timestamp") >= self.since)
            if self.until is not None:
                whole = whole.filter(pl.col("timestamp") < self.until)
            yield whole.with_columns(pl.lit(partition, pl.Int32).alias("partition"))

    def frame(self) -> pl.DataFrame:
        """All clicks in memory, partition by partition, each by offset."""
        parts = [part.collect() for part in self.partitions()]
        return pl.concat(parts) if parts else pl.DataFrame(schema=_SCHEMA)

    def clicks(self) -> Clicks:
        """All clicks in memory, as training takes them: without those that a producer wrote twice in a row.

        Raises:
            ClicksError: there is none.
        """
        frame = self.frame()
        if frame.is_empty():
            raise ClicksError(empty(self.source, self.since, self.until))
        kept = without_repetitions(frame.drop("offset", "partition"))
        return Clicks(kept, self.source, self.offsets, self.skipped, repeated=len(frame) - len(kept))

    def close(self) -> None:
        """Remove copies of remote files."""
        if self._scratch is not None:
            self._scratch.cleanup()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def empty(source: str, since: int | None, until: int | None) -> str:
    """What to tell somebody whose span holds no click."""
    span = f"{' from ' + _utc(since) if since is not None else ''}{' to ' + _utc(until) if until is not None else ''}"
    return f"{source} holds no click{span}: produce some (`nextclick produce FILE`), or widen the span"


def open_log(
    settings: Settings,
    since: int | None = None,
    until: int | None = None,
    run: Callable[[Coroutine[Any, Any, Any]], Any] = asyncio.run,
) -> ClickLog:
    """Open the archive, and the clicks topic from where the archive ends, as one log.

    Args:
        settings: broker, topic, archive.
        since: only clicks from then on, ms since 1970 UTC.
        until: only clicks before then.
        run: runs what asks Kafka, for a caller that has an event loop already.

    Raises:
        BrokerError: no broker answers, or it goes silent.
        ClicksError: the archive cannot be read, or belongs to another topic of the same name.
        TopicError: the topic does not exist.
    """
    archive = Archive(settings.archive_uri, settings.clicks_topic)
    slices, files, scratch = _fetch(archive, since, until)
    log = ClickLog(f"topic {settings.clicks_topic!r} with its archive", since, until, _scratch=scratch)
    tails = run(_read_tails(settings, slices, since))
    of_partition: defaultdict[int, list[Slice]] = defaultdict(list)
    for piece in slices:
        of_partition[piece.file.partition].append(piece)
    parts: defaultdict[int, list[pl.LazyFrame]] = defaultdict(list)
    numbers = {"session_id": True, "item_id": True}
    for piece in slices:
        path = files.get(piece.file)
        if path is None:
            continue  # outside the span, or without a click
        log.skipped += skipped_in(path)
        scan = pl.scan_parquet(path)
        for name in numbers:
            numbers[name] &= scan.collect_schema()[name] != pl.String
        parts[piece.file.partition].append(
            scan if piece.start <= piece.file.first else scan.filter(pl.col("offset") >= piece.start)
        )
    for partition, tail in tails.items():
        pieces = of_partition[partition]
        log.missing += _missing(partition, pieces, tail, since, until)
        log.offsets[partition] = (pieces[0].start if pieces else tail.first, tail.end)
        log.skipped += tail.columns.skipped
        if len(tail.columns):
            frame = tail.columns.frame()
            for name in numbers:
                numbers[name] &= frame.schema[name] != pl.String
            parts[partition].append(frame.lazy())
    log.numbers, log._parts = numbers, dict(parts)
    return log


@dataclass
class _Tail:
    """What was read of a partition of the topic: the offsets from `first` to `end`."""

    first: int
    end: int
    begins: int  # the first offset that the topic still has
    columns: ClickColumns = field(default_factory=ClickColumns)


def _fetch(
    archive: Archive, since: int | None, until: int | None
) -> tuple[list[Slice], dict[ArchiveFile, Path], "tempfile.TemporaryDirectory[str] | None"]:
    """The slices of the archive, and the files of them that may hold clicks of the span."""
    for left in reversed(range(LISTINGS)):
        slices, _ = resolve(archive.files())
        scratch = None if archive.local else tempfile.TemporaryDirectory(prefix="nextclick-log-")
        try:
            return (
                slices,
                {
                    piece.file: archive.fetch(piece.file, Path(scratch.name if scratch else ""))
                    for piece in slices
                    if _touches(piece.file, since, until)
                },
                scratch,
            )
        except FileNotFoundError as error:  # merged since it was listed
            if scratch is not None:
                scratch.cleanup()
            if not left:
                raise ClicksError(
                    f"the archive at {archive.uri} changes faster than it can be opened ({error}): try again"
                ) from error
    raise AssertionError("unreachable")


def _touches(file: ArchiveFile, since: int | None, until: int | None) -> bool:
    if file.oldest is None or file.newest is None:
        return False
    return (since is None or file.newest >= since) and (until is None or file.oldest < until)


async def _read_tails(settings: Settings, slices: list[Slice], since: int | None) -> dict[int, _Tail]:
    """Partition → what the topic holds beyond the archive.

    A partition without an archive is read from the time of `since` on by Kafka's clock, less the tolerance that clicks
    are allowed to be ahead of it.
    """
    topic = settings.clicks_topic
    async with admin(settings) as client:
        existing = await existing_topics(client, [topic])
    if topic not in existing:
        raise TopicError(missing_topics([topic], settings))
    archived = {piece.file.partition: piece.file.end for piece in slices}
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.brokers,
        client_id=f"{settings.app_id}-trainer",
        enable_auto_commit=False,
        max_partition_fetch_bytes=4 << 20,
    )
    async with connected(consumer, settings):
        partitions = [TopicPartition(topic, number) for number in range(existing[topic].partitions)]
        consumer.assign(partitions)
        begin = await consumer.beginning_offsets(partitions)
        end = await consumer.end_offsets(partitions)
        begin = {partition: min(begin[partition], end[partition]) for partition in partitions}
        start = dict(begin)
        if since is not None:
            early = max(since - milliseconds(settings.clock_tolerance), 0)
            found = await consumer.offsets_for_times(dict.fromkeys(partitions, early))
            start = {p: found[p].offset if found.get(p) else end[p] for p in partitions}
        tails = {}
        for partition in partitions:
            number = partition.partition
            if number in archived:
                if archived[number] > end[partition]:
                    raise ClicksError(
                        f"the archive at {settings.archive_uri} holds partition {number} of topic {topic!r} up to "
                        f"offset {archived[number]}, and the topic ends at {end[partition]}: it was created anew; "
                        "name another NEXTCLICK_ARCHIVE_URI"
                    )
                start[partition] = max(archived[number], begin[partition])
            consumer.seek(partition, start[partition])
            tails[number] = _Tail(start[partition], end[partition], begin[partition])
        await _read(consumer, partitions, tails, settings)
    return tails


async def _read(
    consumer: AIOKafkaConsumer, partitions: list[TopicPartition], tails: dict[int, _Tail], settings: Settings
) -> None:
    loop = asyncio.get_running_loop()
    heard = loop.time()
    open_ones = [p for p in partitions if tails[p.partition].first < tails[p.partition].end]
    for partition in set(partitions) - set(open_ones):
        consumer.pause(partition)
    while open_ones:
        for partition, records in (await consumer.getmany(*open_ones, timeout_ms=POLL_MILLISECONDS)).items():
            tail = tails[partition.partition]
            tail.columns.add([record for record in records if record.offset < tail.end])
            heard = loop.time()
        if loop.time() - heard > SILENCE_SECONDS:
            raise BrokerError(
                f"{settings.broker} has sent nothing of topic {settings.clicks_topic!r} for {SILENCE_SECONDS:g} s, "
                "before its end was reached: check the broker"
            )
        open_ones = [p for p in open_ones if await consumer.position(p) < tails[p.partition].end]


def _missing(
    partition: int, pieces: list[Slice], tail: _Tail, since: int | None, until: int | None
) -> Iterator[Missing]:
    """Holes that the span of time may have lost clicks in."""
    starts = [(piece.start, piece.file) for piece in pieces]
    place, before = 0, None
    for start, file in starts:
        if start > place and _inside(before, file.oldest, since, until):
            yield Missing(partition, place, start, before, file.oldest)
        place, before = file.end, file.newest if file.newest is not None else before
    first = tail.first if pieces or since is None else tail.begins
    after = min(tail.columns.timestamp[:100], default=None)
    if first > place and _inside(before, after, since, until):
        yield Missing(partition, place, first, before, after)


def _inside(after: int | None, before: int | None, since: int | None, until: int | None) -> bool:
    return not (since is not None and before is not None and before <= since) and not (
        until is not None and after is not None and after >= until
    )


def _utc(timestamp: int) -> str:
    return datetime.fromtimestamp(timestamp / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
