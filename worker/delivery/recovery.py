"""Brings RocksDB up to date from the changelog, after each assignment of partitions.

Faust reads the changelog with the group's consumer: it pauses and resumes partitions, seeks during fetches, and passes
fetched records through a queue that a rebalance clears. A record that is lost there is a lost state, without an error.
Here each recovery creates its own consumer. It reads every partition from the offset up to which RocksDB is complete to
the end, one fetch at a time. Changelog records that the group's consumer fetches are not used.
"""

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError
from faust.tables.manager import TableManager
from faust.tables.recovery import RebalanceAgain, Recovery, ServiceStopped
from faust.types import TP
from mode import Service

from messaging.clients import new_consumer, stop
from messaging.topic_identity import topic_identity
from schemas.errors import DamagedStoreError
from worker.delivery.lost_changelog import lost_changelogs, write_again
from worker.delivery.recovery_progress import RecoveryProgress

log = logging.getLogger("worker.group")
"""Its lines are shown by default; those of Faust's own log, under this module's name, are not."""

FETCH_BYTES = 1 << 20
"""Most bytes of one partition in one fetch."""

FETCH_MS = 500
RETRY_SECONDS = 0.5
"""Pause before a recovery that the broker interrupted is tried again."""


class BulkRecovery(Recovery):
    """Faust's recovery with bulk reading.

    Attributes:
        progress: how far it is.
        recovered_generation: group generation in which RocksDB was last brought up to date. Clicks of a later one must
            not be taken. None before the first recovery.
    """

    recovered_generation: int | None = None

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.progress = RecoveryProgress()

    @Service.task
    async def _restart_recovery(self) -> None:
        """Recover after each assignment, then let Faust resume the clicks. A new assignment restarts the recovery."""
        while not await self.wait_for_stopped(self.signal_recovery_start):
            self.signal_recovery_start.clear()
            generation = self._generation_id
            self._set_recovery_started()
            self.progress.begin()
            assigned = sorted(tp.partition for tp in self.active_tps)
            _tell_assigned(assigned)
            try:
                await self._wait(self._recover(sorted(self.active_tps)))
                self.recovered_generation = generation
                await self._wait(self.on_recovery_completed(generation))
                self.progress.end()
                _tell_recovered(assigned, self.progress)
            except RebalanceAgain:
                continue  # there is a new assignment
            except ServiceStopped:  # Faust also raises it on a time-out
                if self.should_stop:
                    break
                self.log.warning("the broker does not say where to go on: recovering anew")
                self.signal_recovery_start.set()
            except asyncio.CancelledError:  # also from inside aiokafka, which nobody asked to stop
                if self.should_stop or self.app.should_stop:
                    raise
                self.log.warning("the recovery was interrupted: recovering anew")
                await asyncio.sleep(RETRY_SECONDS)
                self.signal_recovery_start.set()
            except Exception as error:
                if not self.signal_recovery_start.is_set() and generation == self.app.consumer_generation_id:
                    self.app.fail(error)  # not caused by a rebalance

    @Service.task
    async def _publish_stats(self) -> None:
        """Do nothing: Faust's compares counters that are not kept here, and would log false errors."""

    @Service.task
    async def _slurp_changelogs(self) -> None:
        """Do nothing: Faust's reads the changelog from a queue, which is not used here."""

    async def _recover(self, changelogs: Collection[TP]) -> None:
        what = "session states are not recovered"
        while changelogs:  # none for a standby
            try:
                await self._read(changelogs)
                self.app.outage.worked(what)
                return
            except (KafkaError, OSError) as error:
                self.app.outage.try_again(what, error, self.app.settings)
                await asyncio.sleep(RETRY_SECONDS)
            except DamagedStoreError as error:
                self.log.warning("recovering again: %s", error)
                self.app.sessions.data.forget(error.partition)
                await asyncio.sleep(RETRY_SECONDS)

    async def _read(self, changelogs: Collection[TP]) -> None:
        """Apply the records that RocksDB lacks of some changelog partitions, up to their current ends."""
        consumer = new_consumer(self.app.settings, "worker-recovery", max_partition_fetch_bytes=FETCH_BYTES)
        try:
            await consumer.start()
            topic_id = await self._topic_id(consumer)
            partitions = [TopicPartition(tp.topic, tp.partition) for tp in changelogs]
            ends = await consumer.end_offsets(partitions)
            beginnings = await consumer.beginning_offsets(partitions)
            lost = await lost_changelogs(self.app, beginnings, ends, topic_id)
            stored = {tp: None if tp in lost else self.app.sessions.persisted_offset(tp) for tp in partitions}
            await self._apply(
                consumer,
                {tp: max(0 if after is None else after + 1, beginnings[tp]) for tp, after in stored.items()},
                ends,
            )
            await write_again(self.app, lost, self._generation_id)
            for tp in partitions:
                self.app.sessions.data.set_changelog_id(tp.partition, topic_id)
        finally:
            await stop(consumer)

    async def _topic_id(self, consumer: AIOKafkaConsumer) -> str:
        """The id of the changelog topic; empty if the broker knows no topic ids."""
        topic = self.app.settings.changelog_topic
        identity = await topic_identity(consumer, topic)
        if identity is None:
            raise UnknownTopicOrPartitionError(f"topic {topic!r} does not exist: create it with `nextclick topics`")
        return identity.topic_id

    async def _apply(
        self, consumer: AIOKafkaConsumer, begin: dict[TopicPartition, int], ends: Mapping[TopicPartition, int]
    ) -> None:
        """Apply the records of partitions from some offsets to their ends."""
        left = {tp for tp in begin if begin[tp] < ends[tp]}
        self.progress.will_read(sum(ends[tp] - begin[tp] for tp in left))
        while left:
            if left != consumer.assignment():
                positions = {tp: begin[tp] for tp in left}
                consumer.assign(left)
                for tp, offset in positions.items():
                    consumer.seek(tp, offset)
            for tp, records in (await consumer.getmany(*left, timeout_ms=FETCH_MS)).items():
                self.app.sessions.data.recover(tp.partition, records, records[-1].offset)
                await asyncio.sleep(0)
            for tp in left:
                position = await consumer.position(tp)  # past offsets that compaction left empty
                self.progress.read += min(position, ends[tp]) - begin[tp]
                begin[tp] = position
            left = {tp for tp in left if begin[tp] < ends[tp]}


def _tell_assigned(partitions: Sequence[int]) -> None:
    if partitions:
        log.info(
            "assigned: partitions %s; their session states are being recovered", in_ranges(partitions),
            extra={"partitions": partitions},
        )  # fmt: skip
    else:
        log.info("assigned: no partition; this worker takes over when another one leaves", extra={"partitions": []})


def _tell_recovered(partitions: Sequence[int], progress: RecoveryProgress) -> None:
    if partitions:
        log.info(
            "recovered: partitions %s, %s changelog records in %.1f s; their clicks are answered now",
            in_ranges(partitions), f"{progress.read:,}", progress.seconds,
            extra={"partitions": partitions, "records": progress.read, "seconds": round(progress.seconds, 3)},
        )  # fmt: skip


def in_ranges(numbers: Sequence[int]) -> str:
    """Ascending numbers in short.

    Example:
        >>> in_ranges([0, 1, 2, 5])
        '0-2, 5'
    """
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][-1] == number - 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    return ", ".join("-".join(map(str, run)) for run in runs)


class BulkTableManager(TableManager):
    """Faust's table manager with `BulkRecovery`."""

    _recovery: BulkRecovery | None

    @property
    def recovery(self) -> BulkRecovery:
        """The recovery service."""
        if self._recovery is None:
            self._recovery = BulkRecovery(self.app, self, beacon=self.beacon, loop=self.loop)
        return self._recovery
