"""Copies a topic whose keys are not the session ids to the clicks topic, with these keys, exactly once.

Each batch of a source partition is one transaction: its messages, the refused ones, and the offset up to which it goes.
A source partition has a transactional id of its own. Its next owner takes the id over before it asks where to go on:
this aborts a transaction of the earlier owner, and Kafka refuses everything that the earlier owner sends after it.
(Kafka could also recognise an earlier owner by its generation in the group, but aiokafka does not send that.)
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError, ProducerFenced

from messaging.clients import (
    broker_error,
    new_consumer,
    new_producer,
    quiet_client_log,
    start,
    stop,
)
from messaging.failures import passes
from messaging.outage import Outage
from nextclick.rekey_topics import first_offset, largest_message, rekey_topics
from nextclick.rekeyed_batch import BatchRekeyer, Record, Rekeyed, RekeyedBatch
from schemas.errors import BrokerError
from schemas.settings import Settings
from worker.delivery.publisher import OutgoingRecord

log = logging.getLogger(__name__)

MOST_RECORDS = 5_000
"""Of one fetch: each partition's share is one transaction. A transaction costs about 10 ms, however small it is."""

BATCH_BYTES = 256 * 1024
POLL_MILLISECONDS = 200
GROUP_TIMEOUT_MS = 10_000

METADATA_MS = 5_000
"""After this time, partitions that were added to a topic are known."""

TRANSACTION_SECONDS = 30
"""A transaction that takes longer is given up. After a kill, readers of the clicks topic wait for so long at most."""

CLOSE_SECONDS = 5.0
RETRY_SECONDS = 1.0
LOOK_SECONDS = 1.0
REPORT_SECONDS = 10.0


BEGINS_AGAIN = "begins again where the last transaction ended"


@dataclass
class _Owned:
    """A source partition of this process: its producer, and the next offset to copy."""

    producer: AIOKafkaProducer
    next: int


class Rekeyer:
    """Copies a topic until it is stopped. Any number of processes share the partitions of the source.

    Args:
        settings: broker, topics, and the form of the messages.
        source: the topic to read.
        say: called with lines about what is done, and fields for a log in JSON.
    """

    def __init__(self, settings: Settings, source: str, say: Callable[..., None]) -> None:
        self.done = Rekeyed()
        self._settings, self._source, self._say = settings, source, say
        self._group = f"{settings.app_id}-rekey"
        self._rekey: Callable[[Sequence[Record]], RekeyedBatch]
        self._batch_bytes = BATCH_BYTES
        self._owned: dict[TopicPartition, _Owned] = {}
        self._changing = asyncio.Lock()  # held while a batch is copied, and while partitions come and go
        self._failure: BaseException | None = None
        self._added = False
        self._reported = 0.0
        self._outage = Outage(log, "Kafka")

    async def run(self, stopped: asyncio.Event, until_end: bool = False) -> None:
        """Copy until `stopped` is set.

        Args:
            stopped: ends the run after the transactions under way.
            until_end: end when the group has copied up to the present ends of the source.

        Raises:
            BrokerError: no broker answers at the start, or it refuses a request for good.
            SettingsError, TopicError: see `rekey_topics`.
        """
        ends = await self._check()
        while not stopped.is_set():
            try:
                with quiet_client_log():  # it logs several lines a second while no broker answers
                    await self._follow(stopped, ends if until_end else None)
                return
            # AssertionError: aiokafka's, if a producer fails between two transactions.
            except (BrokerError, KafkaError, OSError, TimeoutError, AssertionError) as error:
                if not _may_try_again(error):
                    raise broker_error(error, self._settings, f"{self._source!r} cannot be copied") from error
                self._outage.failed(BEGINS_AGAIN, error)
                await asyncio.sleep(RETRY_SECONDS)
            except _PartitionsAddedError as error:
                log.warning("%s: %s", BEGINS_AGAIN, error)
                await asyncio.sleep(RETRY_SECONDS)

    async def _check(self) -> dict[TopicPartition, int]:
        """Check the topics; returns the ends of the source."""
        topics = await rekey_topics(self._settings, self._source)
        self._targets = (topics.clicks, topics.rejected)
        self._rekey = BatchRekeyer(self._settings, *self._targets).rekey
        self._batch_bytes = min(BATCH_BYTES, *map(largest_message, self._targets))
        return topics.ends

    async def _follow(self, stopped: asyncio.Event, until: Mapping[TopicPartition, int] | None) -> None:
        if self._added:
            await self._check()
            self._added = False
        consumer = new_consumer(
            self._settings,
            "rekey",
            group_id=self._group,
            session_timeout_ms=GROUP_TIMEOUT_MS,
            metadata_max_age_ms=METADATA_MS,
        )
        self._failure = None
        try:
            await start(consumer, self._settings)
            consumer.subscribe([self._source], listener=_Listener(self, consumer))
            left, looked = set(until or ()), 0.0
            while not stopped.is_set():
                fetched = await consumer.getmany(timeout_ms=POLL_MILLISECONDS, max_records=MOST_RECORDS)
                async with self._changing:
                    if self._failure is not None:
                        raise self._failure
                    await _all_of([self._copy(consumer, each, fetched.get(each, [])) for each in self._owned])
                if until is not None:
                    look = time.monotonic() - looked > LOOK_SECONDS
                    looked = time.monotonic() if look else looked
                    left = {each for each in left if not await self._has_reached(consumer, each, until[each], look)}
                    if not left:
                        return
                self._tell()
        finally:
            await stop(consumer)  # first: its partitions are revoked
            await self._release()

    async def _has_reached(self, consumer: AIOKafkaConsumer, partition: TopicPartition, end: int, look: bool) -> bool:
        """Whether a partition is copied up to an end, by this process or, if we are to look, by another one."""
        owned = self._owned.get(partition)
        if owned is not None or not look:
            return owned is not None and owned.next >= end
        if (await consumer.committed(partition) or 0) >= end:
            return True
        return bool((await consumer.beginning_offsets([partition]))[partition] >= end)  # empty, or emptied by retention

    async def _copy(self, consumer: AIOKafkaConsumer, partition: TopicPartition, records: Sequence[Record]) -> None:
        """Copy the messages of one partition in one transaction."""
        owned = self._owned[partition]
        try:
            async with asyncio.timeout(TRANSACTION_SECONDS):
                end = await consumer.position(partition)
        except IllegalStateError:  # revoked meanwhile
            return
        # Only getmany and the seek of `_own` move the position. After the seek it is `owned.next`: what was fetched
        # before is fetched again. Else it is the end of what was fetched, with offsets that have no message.
        if end <= owned.next or (records and end <= records[-1].offset):
            return
        await self._check_partitions(owned.producer)
        batch = self._rekey([record for record in records if record.offset >= owned.next])
        async with asyncio.timeout(TRANSACTION_SECONDS):
            producer = owned.producer
            await producer.begin_transaction()
            await self._send(producer, self._settings.clicks_topic, batch.clicks)
            await self._send(producer, self._settings.rejected_topic, batch.rejected)
            await producer.send_offsets_to_transaction({partition: end}, self._group)
            await producer.commit_transaction()
        owned.next = end
        self.done.add(batch)

    async def _check_partitions(self, producer: AIOKafkaProducer) -> None:
        """Check that the topics to write to have the partitions that sessions are spread over."""
        for topic in self._targets:
            count = len(await producer.partitions_for(topic.name))
            if count != topic.partitions:
                self._added = True
                raise _PartitionsAddedError(f"topic {topic.name!r} has {count} partitions, {topic.partitions} before")

    async def _send(
        self, producer: AIOKafkaProducer, topic: str, messages: Mapping[int, Sequence[tuple[int, OutgoingRecord]]]
    ) -> None:
        """Send messages and wait until all are acknowledged: a commit would not fail because one is not."""
        sent = []
        for partition, listed in messages.items():
            batch = producer.create_batch()
            for moment, (key, value, headers) in listed:
                timestamp = moment if moment >= 0 else None
                while batch.append(timestamp=timestamp, key=key, value=value, headers=headers or []) is None:
                    sent.append(await producer.send_batch(batch, topic, partition=partition))
                    batch = producer.create_batch()
            sent.append(await producer.send_batch(batch, topic, partition=partition))
        await _all_of(sent)

    async def _own(self, consumer: AIOKafkaConsumer, partitions: Sequence[TopicPartition]) -> None:
        """Take over partitions: fence their earlier owners, then go on where the last transaction ended."""
        producers = [self._new_producer(partition) for partition in partitions]
        try:
            async with asyncio.timeout(TRANSACTION_SECONDS):
                await _all_of([producer.start() for producer in producers])
                begins = await consumer.beginning_offsets(partitions)
                ends = await consumer.end_offsets(partitions)
                places = []
                for partition, producer in zip(partitions, producers, strict=True):
                    committed = await consumer.committed(partition)
                    first = first_offset(partition, committed, begins[partition], ends[partition])
                    consumer.seek(partition, first)
                    self._owned[partition] = _Owned(producer, first)
                    if committed is not None:
                        places.append(f"partition {partition.partition} at offset {first}")
        except BaseException:
            await _all_of([_close(producer) for producer in producers])
            raise
        if places:
            self._say(f"goes on where group {self._group!r} ended: {', '.join(places)}")

    def _new_producer(self, partition: TopicPartition) -> AIOKafkaProducer:
        return new_producer(
            self._settings,
            "rekey",
            transactional_id=f"{self._group}-{partition.topic}-{partition.partition}",
            transaction_timeout_ms=TRANSACTION_SECONDS * 1000,
            max_batch_size=self._batch_bytes,
            metadata_max_age_ms=METADATA_MS,
        )

    async def _release(self) -> None:
        owned, self._owned = self._owned, {}
        await _all_of([_close(each.producer) for each in owned.values()])

    def _tell(self) -> None:
        if time.monotonic() - self._reported > REPORT_SECONDS:
            self._reported = time.monotonic()
            self._say(f"copied so far {self.done}", **asdict(self.done))


class _PartitionsAddedError(Exception):
    """A topic to write to has other partitions than before: sessions belong to others."""


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    """aiokafka only logs what these methods raise, so it is noted for `_follow`."""

    def __init__(self, rekeyer: Rekeyer, consumer: AIOKafkaConsumer) -> None:
        self._rekeyer, self._consumer = rekeyer, consumer

    async def on_partitions_revoked(self, _revoked: set[TopicPartition]) -> None:
        async with self._rekeyer._changing:
            await self._rekeyer._release()

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        async with self._rekeyer._changing:
            try:
                await self._rekeyer._own(self._consumer, sorted(assigned))
                self._rekeyer._outage.worked(BEGINS_AGAIN)
            except Exception as error:
                self._rekeyer._failure = error


def _may_try_again(error: BaseException) -> bool:
    """Whether a new producer may succeed. aiokafka raises a plain KafkaError if its sender fails unexpectedly."""
    return (
        passes(error) or isinstance(error, BrokerError | ProducerFenced | AssertionError) or type(error) is KafkaError
    )


async def _close(producer: AIOKafkaProducer) -> None:
    """Close a producer. A transaction under way is aborted by the next owner, at the latest by Kafka."""
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await stop(producer)
    except Exception as error:
        log.debug("a producer did not close in order: %r", error)
        await producer.client.close()


async def _all_of(awaited: Sequence[Any]) -> None:
    """Wait for all, then raise the first error of any."""
    for result in await asyncio.gather(*awaited, return_exceptions=True):
        if isinstance(result, BaseException):
            raise result
