"""Archive and topic as one log of clicks: a span of time, every offset once, and a report of missing offsets.

log = open_log(settings, since=time.time_ns() // 1_000_000 - 7 * DAY_MS)
for line in log.missing: print(line)
clicks = log.clicks()                     # a table in memory, the input of `trainer.train`
for part in log.partitions(): ...         # lazily, one partition at a time: a session is in one partition
"""

import asyncio
import tempfile
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import polars as pl

from clicklog.archive.archive_file import ArchiveFile
from clicklog.archive.content import COLUMNS, StoredClicks, open_file
from clicklog.archive.files import Archive, Slice, resolve
from clicklog.archive.incarnations import Continuation, chains, continuation
from clicklog.clicks import IDS, Clicks, without_repetitions
from clicklog.columns import ClickColumns
from clicklog.topic_span import (
    PartitionSpan,
    click_consumer,
    click_partitions,
    first_since,
    open_spans,
    read_spans,
)
from messaging.incarnations import truncations_of
from messaging.topic_identity import topic_identity
from schemas.durations import milliseconds
from schemas.errors import ClicksError
from schemas.settings import Settings

_SCHEMA = {**dict.fromkeys(COLUMNS, pl.Int64), "partition": pl.Int32}

OPEN_FILES = 500
"""Most files of a local archive that are held open: a process usually may open 1,024."""

LISTINGS = 5
"""How often an archive is listed if compaction deletes listed files before they are opened."""


@dataclass(frozen=True)
class Missing:
    """Offsets of a partition that are neither in the archive nor in the topic any more."""

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
        source: description of what was read, for people.
        since: only clicks from this time on, ms since 1970 UTC; None: from the beginning.
        until: only clicks before this time; None: to the end.
        offsets: partition → first offset covered and the offset after the last, of the present topic.
        logs: partition → incarnation of the topic that `offsets` count in; empty if unknown.
        missing: offsets that a retention has deleted from the span.
        skipped: messages in the opened files and on the topic that were not valid clicks.
        numbers: for each id column, whether all its ids are integers; else they are strings.
    """

    source: str
    since: int | None
    until: int | None
    offsets: dict[int, tuple[int, int]] = field(default_factory=dict)
    logs: dict[int, str] = field(default_factory=dict)
    missing: list[Missing] = field(default_factory=list)
    skipped: int = 0
    numbers: dict[str, bool] = field(default_factory=lambda: dict.fromkeys(IDS, True))
    _parts: dict[int, list[tuple[pl.LazyFrame, bool]]] = field(default_factory=dict)
    _scratch: "tempfile.TemporaryDirectory[str] | None" = None

    def add(self, partition: int, part: pl.LazyFrame, present: bool = True) -> None:
        """Append clicks to a partition, after the clicks it has.

        Args:
            partition: number of the partition.
            part: `clicklog.archive.content.COLUMNS`, by offset.
            present: whether their offsets count in the present topic, not in an earlier one of the same name.
        """
        schema = part.collect_schema()
        for name in IDS:
            self.numbers[name] &= schema[name] != pl.String
        self._parts.setdefault(partition, []).append((part, present))

    def partitions(self, ends: Mapping[int, int] | None = None) -> Iterator[pl.LazyFrame]:
        """The clicks of each partition, by offset: session_id, item_id, timestamp, offset, partition.

        Clicks of earlier topics of the same name come first.

        Args:
            ends: partition → of the present topic, only clicks before this offset; none of other partitions.
        """
        kinds = {name: pl.Int64 if number else pl.String for name, number in self.numbers.items()}
        for partition, parts in sorted(self._parts.items()):
            kept = (
                part if ends is None or not present else part.filter(pl.col("offset") < ends.get(partition, 0))
                for part, present in parts
            )
            whole = pl.concat([part.cast(kinds) for part in kept])  # type: ignore[arg-type]
            if self.since is not None:
                whole = whole.filter(pl.col("timestamp") >= self.since)
            if self.until is not None:
                whole = whole.filter(pl.col("timestamp") < self.until)
            yield whole.with_columns(pl.lit(partition, pl.Int32).alias("partition"))

    def frame(self, ends: Mapping[int, int] | None = None) -> pl.DataFrame:
        """All clicks in memory, partition by partition; see `partitions`."""
        parts = [part.collect() for part in self.partitions(ends)]
        return pl.concat(parts) if parts else pl.DataFrame(schema=_SCHEMA)

    def clicks(self) -> Clicks:
        """All clicks in memory, as input of a training: without repetitions by a producer's retries.

        Raises:
            ClicksError: there is no click.
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
    """The message for a span that has no click."""
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
        since: only clicks from this time on, ms since 1970 UTC.
        until: only clicks before this time.
        run: runs the coroutine that reads from Kafka, for a caller that has its own event loop.

    Raises:
        BrokerError: no broker answers, or it stops sending.
        ClicksError: the archive cannot be read, or belongs to another topic and the broker knows no topic ids.
        TopicError: the topic does not exist.
    """
    archive = Archive(settings.archive_uri, settings.clicks_topic)
    slices, files, scratch = _fetch(archive, since, until)
    log = ClickLog(f"topic {settings.clicks_topic!r} with its archive", since, until, _scratch=scratch)
    spans, tails, found = run(_read_tails(settings, slices, since))
    log.logs = {number: goes_on.log for number, goes_on in found.items()}
    present = [piece for piece in slices if _is_present(piece, found)]
    for piece in slices:
        if piece.file in files:  # else outside the span, or without clicks
            _add_file(log, piece, files[piece.file], piece in present)
    for earlier in _by_incarnation([piece for piece in slices if piece not in present]):
        log.missing += _missing(earlier, earlier[0].start, since, until)
    for span in spans:
        _add_tail(log, span, tails[span.number], [p for p in present if p.file.partition == span.number])
    return log


def _is_present(piece: Slice, found: Mapping[int, Continuation]) -> bool:
    """Whether the offsets of a file count in the present topic."""
    chain = found[piece.file.partition].chain if piece.file.partition in found else None
    return chain is not None and chain.log == piece.log


def _by_incarnation(pieces: Sequence[Slice]) -> list[list[Slice]]:
    grouped: dict[tuple[int, str], list[Slice]] = {}
    for piece in pieces:
        grouped.setdefault((piece.file.partition, piece.log), []).append(piece)
    return list(grouped.values())


def _add_file(log: ClickLog, piece: Slice, stored: StoredClicks, present: bool) -> None:
    log.skipped += stored.skipped
    overlaps = piece.start > piece.file.first
    used = stored.frame.filter(pl.col("offset") >= piece.start) if overlaps else stored.frame
    log.add(piece.file.partition, used, present)


def _add_tail(log: ClickLog, span: PartitionSpan, tail: ClickColumns, pieces: list[Slice]) -> None:
    """Add the topic's clicks of a partition from the end of its archive on."""
    log.offsets[span.number] = (pieces[0].start if pieces else span.first, span.end)
    log.skipped += tail.skipped
    truncated = truncations_of(log.logs[span.number]) > 0
    begin = log.offsets[span.number][0] if truncated else 0  # after a truncation: where it was noticed
    log.missing += _missing(pieces, begin, log.since, log.until)
    archived = max((piece.file.end for piece in pieces), default=begin)
    first = span.first if pieces or log.since is None else span.begins
    before = max((piece.file.newest for piece in pieces if piece.file.newest is not None), default=None)
    after = min(tail.timestamp[:100], default=None)
    if first > archived and _inside(before, after, log.since, log.until):
        log.missing.append(Missing(span.number, archived, first, before, after))
    if len(tail):
        log.add(span.number, tail.frame().lazy())


def _fetch(
    archive: Archive, since: int | None, until: int | None
) -> tuple[list[Slice], dict[ArchiveFile, StoredClicks], "tempfile.TemporaryDirectory[str] | None"]:
    """The slices of the archive, and those of its files that may have clicks of the span."""
    for left in reversed(range(LISTINGS)):
        slices, _ = resolve(archive.files())
        wanted = [piece.file for piece in slices if _touches(piece.file, since, until)]
        scratch = None if archive.local else tempfile.TemporaryDirectory(prefix="nextclick-log-")
        directory = Path(scratch.name if scratch else "")
        kept_open = archive.local and len(wanted) <= OPEN_FILES  # copies of remote files do not change
        try:
            files = {file: open_file(archive.fetch(file, directory), kept_open=kept_open) for file in wanted}
            return slices, files, scratch
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


async def _read_tails(
    settings: Settings, slices: list[Slice], since: int | None
) -> tuple[list[PartitionSpan], dict[int, ClickColumns], dict[int, Continuation]]:
    """Read the topic from the end of the archive on: the spans, partition → clicks, partition → what is continued.

    A partition without an archive is read from Kafka timestamp `since` on, minus the tolerance by which a click's time
    may be ahead of it.
    """
    archived = chains(piece.file for piece in slices)
    early = None if since is None else max(since - milliseconds(settings.clock_tolerance), 0)
    found: dict[int, Continuation] = {}
    async with click_consumer(settings, "trainer") as consumer:
        partitions = await click_partitions(consumer, settings)
        consumer.assign(partitions)
        identity = await topic_identity(consumer, settings.clicks_topic)
        spans = await open_spans(consumer, partitions, early)
        for span in spans:
            of_partition = [chain for chain in archived if chain.partition == span.number]
            goes_on = continuation(of_partition, identity.topic_id if identity else "", span)
            if goes_on.chain is not None:
                span.first = goes_on.first
            elif goes_on.since is not None:
                span.first = max(span.first, await first_since(consumer, span, goes_on.since))
            found[span.number] = goes_on
        return spans, await read_spans(consumer, spans, settings), found


def _missing(pieces: Sequence[Slice], begin: int, since: int | None, until: int | None) -> Iterator[Missing]:
    """The missing offsets before and between files of an incarnation that may have had clicks of the span of time."""
    place, before = begin, None
    for piece in pieces:
        file = piece.file
        if piece.start > place and _inside(before, file.oldest, since, until):
            yield Missing(file.partition, place, piece.start, before, file.oldest)
        place, before = file.end, file.newest if file.newest is not None else before


def _inside(after: int | None, before: int | None, since: int | None, until: int | None) -> bool:
    return not (since is not None and before is not None and before <= since) and not (
        until is not None and after is not None and after >= until
    )


def _utc(timestamp: int) -> str:
    return datetime.fromtimestamp(timestamp / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
