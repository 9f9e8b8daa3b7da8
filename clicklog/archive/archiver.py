"""Writing the clicks topic into archive files, exactly once.

The next file of a partition begins at the offset where its archive ends, and is written atomically. So a kill at any
point loses no click (messages without a file are read again) and duplicates none. Archivers of one group share the
partitions. An archiver that Kafka excluded from the group may still write; its files overlap with those of the next
owner, and readers count each offset once.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from clicklog.archive.archive_file import ArchiveFile
from clicklog.archive.compaction import compact
from clicklog.archive.files import Archive, day_of
from clicklog.archive.incarnations import Continuation, chains, continuation
from clicklog.columns import ClickColumns
from clicklog.topic_span import PartitionSpan, click_consumer, click_partitions, first_since, open_spans
from messaging.failures import UnreadableBatch, unreadable_batch
from messaging.incarnations import TruncationWatch
from messaging.record_time import taken_in
from messaging.topic_identity import TopicIdentity, topic_identity
from schemas.click_decoder import click_decoder
from schemas.durations import milliseconds
from schemas.errors import ClicksError
from schemas.settings import Settings

log = logging.getLogger(__name__)

FILE_CLICKS = 250_000
"""A file is written early when it has this many messages: 60 MB of Python objects in memory."""

LOOK_SECONDS = 3.0
"""Pause between two looks whether the topic is still the one that is archived."""

TAKE_OVER_TRIES = 10
"""So often a broker that does not answer is asked where a partition goes on; then the archiver ends."""

POLL_MILLISECONDS = 200
GROUP_TIMEOUT_MS = 10_000
COMPACT_SECONDS = 300.0
DAY_MS = 86_400_000


@dataclass
class Archived:
    """What an archiver has done so far.

    Attributes:
        clicks: valid clicks written.
        skipped: messages that are not valid clicks.
        files: files written.
        expired: messages in files that were deleted at the end of NEXTCLICK_ARCHIVE_RETENTION.
        lag: messages of its partitions that are not yet in a file.
    """

    clicks: int = 0
    skipped: int = 0
    files: int = 0
    expired: int = 0
    lag: int = 0


@dataclass
class _Filling:
    """The next file of one partition, while its clicks are collected."""

    first: int  # offset
    end: int
    log: str = ""  # incarnation of the topic
    day: str = ""
    day_ends: int = 0  # ms since 1970
    since: float = 0.0  # monotonic time of the first message
    columns: ClickColumns = field(default_factory=ClickColumns)


class Archiver:
    """Writes the clicks topic into the archive.

    Args:
        settings: broker, topic, archive, and the longest time until a click is in a file.
        report: called after files were written.
    """

    def __init__(self, settings: Settings, report: Callable[[Archived], None] | None = None) -> None:
        self.done = Archived()
        self._settings = settings
        self._report = report
        self._archive = Archive(settings.archive_uri, settings.clicks_topic)
        self._decode_message = click_decoder(settings)
        self._interval = settings.archive_interval.total_seconds()
        self._filling: dict[TopicPartition, _Filling] = {}
        self._identity: TopicIdentity | None = None
        self._looked = 0.0
        self._truncation: TruncationWatch[TopicPartition] = TruncationWatch()
        self._tidied = 0.0
        self._in_group = False
        self._failure: ClicksError | None = None

    async def run(self, stop: asyncio.Event, once: bool = False) -> None:
        """Follow the topic until `stop` is set, then write the collected clicks.

        Args:
            stop: ends the run.
            once: end at the present end of the topic, without a consumer group: for a job instead of a service.

        Raises:
            BrokerError: no broker answers.
            TopicError: the topic does not exist.
            ClicksError: the archive is not writable, or belongs to another topic and the broker knows no topic ids.
        """
        self._archive.files()  # fails now, not after the first interval, if there is no archive
        self._archive.sweep(time.time() - 3600)
        group = None if once else f"{self._settings.app_id}-archive"
        async with click_consumer(
            self._settings,
            "archive",
            group_id=group,
            session_timeout_ms=GROUP_TIMEOUT_MS,
            metadata_max_age_ms=5_000,  # so that a topic that comes back is assigned soon
        ) as consumer:
            partitions = await click_partitions(consumer, self._settings)
            if once:
                consumer.assign(partitions)
                spans = await self._take_over(consumer, partitions)
                await self._follow(consumer, stop, {span.partition: span.end for span in spans})
            else:
                self._in_group = True
                consumer.subscribe([self._settings.clicks_topic], listener=_Listener(self, consumer))
                await self._follow(consumer, stop, None)

    async def _follow(
        self, consumer: AIOKafkaConsumer, stop: asyncio.Event, until: dict[TopicPartition, int] | None
    ) -> None:
        while not stop.is_set():
            fetched = await self._fetch(consumer)
            expecting = dict(self._filling)
            for partition, records in fetched.items():
                expected = expecting.get(partition)
                # A different object: the partition was revoked or assigned again while other files were written.
                if self._filling.get(partition) is expected and expected is not None:
                    await self._gather(consumer, partition, expected, records)
            if self._failure is not None:
                raise self._failure
            now = time.monotonic()
            if until is None and now - self._looked > LOOK_SECONDS:
                self._looked = now
                await self._look(consumer)
            due = [
                partition
                for partition, filling in self._filling.items()
                if filling.end > filling.first and now - filling.since >= self._interval
            ]
            await self._write(consumer, due)
            if until is not None and await self._reached(consumer, until):
                break
            if until is None and now - self._tidied > COMPACT_SECONDS:
                self._tidied = now
                await self._compact()
        await self._write(consumer, list(self._filling))
        await self._compact()

    async def _fetch(self, consumer: AIOKafkaConsumer) -> "dict[TopicPartition, list[ConsumerRecord[bytes, bytes]]]":
        """The next messages. Those before a batch that cannot be read are written before it ends the run."""
        try:
            return dict(await consumer.getmany(timeout_ms=POLL_MILLISECONDS))
        except Exception as error:
            unreadable = unreadable_batch(error)
            if unreadable is None:
                raise
        await self._write_before(consumer, unreadable)
        return {}

    async def _write_before(self, consumer: AIOKafkaConsumer, unreadable: UnreadableBatch) -> None:
        """Write what comes before a batch that cannot be read; raises its error unless it can be read after all."""
        for partition, filling in self._filling.items():  # aiokafka has dropped what it had read beside that batch
            consumer.seek(partition, filling.end)
        partition = TopicPartition(unreadable.topic, unreadable.partition)
        try:
            while partition in self._filling and await consumer.position(partition) <= unreadable.offset:
                fetched = await consumer.getmany(partition, timeout_ms=POLL_MILLISECONDS, max_records=1)
                for records in fetched.values():
                    await self._gather(consumer, partition, self._filling[partition], records)
        finally:
            await self._write(consumer, list(self._filling))

    async def _reached(self, consumer: AIOKafkaConsumer, until: dict[TopicPartition, int]) -> bool:
        """Whether these ends are read. The last offsets before an end may have no message, as after a transaction."""
        for partition, end in until.items():
            if self._filling[partition].end < end and await consumer.position(partition) < end:
                return False
        return True

    async def _gather(
        self,
        consumer: AIOKafkaConsumer,
        partition: TopicPartition,
        filling: _Filling,
        records: list["ConsumerRecord[bytes, bytes]"],
    ) -> None:
        if records[0].offset < filling.end:  # of another log: it is noticed at the next look
            return
        if records[0].offset > filling.end:
            begin = (await consumer.beginning_offsets([partition]))[partition]
            if begin > filling.end:  # else the gap is a transaction marker: no click is missing
                _say_lost(partition, filling.end, begin)
                following = self._begin(begin, filling.log)
                await self._write(consumer, [partition], following)
                if self._filling.get(partition) is not following:
                    return
                filling = following
        now = _now()
        while records:
            if filling.end == filling.first:
                begun = _taken_in(records[0], now)
                filling.day, filling.day_ends = day_of(begun), (begun // DAY_MS + 1) * DAY_MS
                filling.since = time.monotonic()
            room = FILE_CLICKS - (filling.end - filling.first)
            part = records[:room]
            if _taken_in(part[-1], now) >= filling.day_ends:  # the file ends with its day
                late = next(place for place, record in enumerate(part) if _taken_in(record, now) >= filling.day_ends)
                part = part[:late]
            filling.columns.add(part)
            records = records[len(part) :]
            if part:
                filling.end = part[-1].offset + 1
            if records or filling.end - filling.first >= FILE_CLICKS:
                following = self._begin(filling.end, filling.log)
                await self._write(consumer, [partition], following)
                if self._filling.get(partition) is not following:
                    return
                filling = following
            elif (end := await consumer.position(partition)) > filling.end:
                filling.end = end

    async def _write(
        self, consumer: AIOKafkaConsumer, partitions: list[TopicPartition], following: _Filling | None = None
    ) -> None:
        """Write the collected clicks of these partitions and begin their next files (`following` for a single one)."""
        written = False
        for partition in partitions:
            filling = self._filling.get(partition)
            if filling is None:
                continue
            self._filling[partition] = following or self._begin(filling.end, filling.log)
            if filling.end == filling.first:
                continue
            clicks = filling.columns.frame()
            oldest, newest = clicks["timestamp"].min(), clicks["timestamp"].max()
            file = ArchiveFile(
                partition.partition, filling.first, filling.end, filling.day or day_of(_now()), oldest, newest,  # type: ignore[arg-type]
                log=filling.log,
            )  # fmt: skip
            await asyncio.to_thread(self._archive.write, file, clicks, filling.columns.skipped)
            self.done.clicks += len(clicks)
            self.done.skipped += filling.columns.skipped
            self.done.files += 1
            written = True
            if self._in_group:
                await _commit(consumer, partition, filling.end)
        if written:
            self.done.lag = sum(
                max((consumer.last_stable_offset(partition) or 0) - filling.first, 0)
                for partition, filling in self._filling.items()
            )
            if self._report is not None:
                self._report(self.done)

    def _begin(self, offset: int, log: str) -> _Filling:
        """A file that begins at an offset."""
        return _Filling(offset, offset, log, columns=ClickColumns(decode_message=self._decode_message))

    async def _take_over(self, consumer: AIOKafkaConsumer, partitions: list[TopicPartition]) -> list[PartitionSpan]:
        """Begin each partition where the archive of the topic that exists now ends."""
        identity = await topic_identity(consumer, self._settings.clicks_topic)
        archived = chains(await asyncio.to_thread(self._archive.files))
        spans = await open_spans(consumer, partitions)
        for span in spans:
            topic_id = identity.topic_id if identity else ""
            found = continuation([chain for chain in archived if chain.partition == span.number], topic_id, span)
            start = await first_since(consumer, span, found.since) if found.since is not None else found.first
            if found.replaced is not None:
                _say_another(span, found)
            elif found.chain is not None and start > found.chain.end:
                _say_lost(span.partition, found.chain.end, start)
            self._filling[span.partition] = self._begin(start, found.log)
            consumer.seek(span.partition, start)
        self._identity = identity
        return spans

    async def _look(self, consumer: AIOKafkaConsumer) -> None:
        """If the topic is not the archived one any more, write what was collected and go on in the present one."""
        partitions = list(self._filling)
        try:
            if not partitions or not await self._is_another(consumer, partitions):
                return
            await self._write(consumer, partitions)
            await self._take_over(consumer, partitions)
        except KafkaError as error:
            log.debug("look at the topic: %r", error)

    async def _is_another(self, consumer: AIOKafkaConsumer, partitions: list[TopicPartition]) -> bool:
        """Whether the topic has another id, or ends before what was read of it, seen twice in a row."""
        collected = {partition: self._filling[partition].end for partition in partitions}
        identity = await topic_identity(consumer, self._settings.clicks_topic)
        if identity is None or any(partition.partition >= identity.partitions for partition in partitions):
            return False  # deleted: what comes in its place is noticed later
        ends = await consumer.end_offsets(partitions)
        truncated = self._truncation.truncated(collected, ends)
        return truncated or (self._identity is not None and self._identity.topic_id != identity.topic_id)

    async def _save_last(self, consumer: AIOKafkaConsumer) -> None:
        """Write what was collected of a topic that does not exist any more: nobody can read it again."""
        try:
            identity = await topic_identity(consumer, self._settings.clicks_topic)
        except KafkaError:
            return
        if identity is None or (self._identity is not None and identity.topic_id != self._identity.topic_id):
            await self._write(consumer, list(self._filling))

    def _give_up(self, partitions: list[TopicPartition]) -> None:
        """Drop the collected clicks of these partitions: their next owner reads them again."""
        for partition in partitions:
            self._filling.pop(partition, None)

    async def _compact(self) -> None:
        days = milliseconds(self._settings.archive_retention) // DAY_MS
        expired = await asyncio.to_thread(
            compact,
            self._archive,
            {partition.partition for partition in self._filling},
            day_of(_now()),
            day_of(max(_now() - days * DAY_MS, 0)),
        )
        self.done.expired += expired
        if expired and self._report is not None:
            self._report(self.done)


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, archiver: Archiver, consumer: AIOKafkaConsumer) -> None:
        self._archiver, self._consumer = archiver, consumer

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        try:
            await self._archiver._save_last(self._consumer)
        except ClicksError as error:  # aiokafka would only log it
            self._archiver._failure = error
        self._archiver._give_up(list(revoked))

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        left = TAKE_OVER_TRIES
        while left:
            left -= 1
            try:
                await self._archiver._take_over(self._consumer, sorted(assigned))
                return
            except ClicksError as error:  # aiokafka would only log it
                self._archiver._failure = error
                return
            except KafkaError as error:
                if not left:
                    self._archiver._failure = ClicksError(
                        f"the partitions {sorted(assigned)} cannot be read: {error!r}"
                    )
                await asyncio.sleep(0.5)


async def _commit(consumer: AIOKafkaConsumer, partition: TopicPartition, end: int) -> None:
    """Commit the archive's progress for Kafka's tools; this program does not read it."""
    try:
        await consumer.commit({partition: end})
    except KafkaError as error:
        log.debug("commit of %s: %r", partition, error)


def _say_lost(partition: TopicPartition, first: int, end: int) -> None:
    log.warning(
        "topic %r, partition %d: %d messages (offsets %d to %d) were deleted by the topic's retention before they were "
        "archived; run the archiver more often, or raise NEXTCLICK_CLICKS_RETENTION",
        partition.topic,
        partition.partition,
        end - first,
        first,
        end - 1,
    )


def _say_another(span: PartitionSpan, found: Continuation) -> None:
    assert found.replaced is not None
    log.warning(
        "topic %r, partition %d: the archive holds offsets up to %d of another log (%s); this one is %s, and is "
        "archived beside it",
        span.partition.topic,
        span.number,
        found.replaced.end - 1,
        found.replaced.log or "of an unknown id",
        found.log,
    )


def _taken_in(record: "ConsumerRecord[bytes, bytes]", now: int) -> int:
    """When the broker took in the message, at most now; now, if only its producer's time is known. ms since 1970 UTC.

    The day of a file follows from it, and its end by the retention. A producer may set the time of an event long ago.
    """
    return min(max(taken_in(record, now), 0), now)


def _now() -> int:
    return time.time_ns() // 1_000_000
