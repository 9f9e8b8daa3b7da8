"""Bringing RocksDB up to date from the changelog, after each assignment of partitions.

Faust reads the changelog with the consumer of the group: it pauses and resumes partitions, seeks beside fetches under
way, and hands over what was fetched through a queue that rebalances clear. A record that falls out on that way is a
lost state, and nothing notices. Here each recovery has a consumer of its own, which reads every partition from the
offset that RocksDB is complete to up to the end, a fetch at a time. What the group's consumer
fetches of the changelog is not used.
"""

import asyncio
from collections.abc import Collection

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from faust.tables.manager import TableManager
from faust.tables.recovery import RebalanceAgain, Recovery, ServiceStopped
from faust.types import TP
from mode import Service

from worker.delivery.store import SessionTable

FETCH_BYTES = 4 << 20
"""Of one partition and fetch."""

FETCH_MS = 500
RETRY_SECONDS = 0.5
"""Before a recovery is tried again that the broker did not let finish."""


class BulkRecovery(Recovery):
    """Faust's recovery, with another way of reading.

    Attributes:
        recovered_generation: of the group, in which RocksDB was last brought up to date; no click of a later one may be
            taken.
    """

    recovered_generation: int | None = None

    @Service.task
    async def _restart_recovery(self) -> None:
        """Recover after each assignment, then let Faust resume the clicks; begin anew where another one comes."""
        while not await self.wait_for_stopped(self.signal_recovery_start):
            self.signal_recovery_start.clear()
            generation = self._generation_id
            self._set_recovery_started()
            try:
                await self._wait(self._recover(sorted(self.active_tps)))
                self.recovered_generation = generation
                await self._wait(self.on_recovery_completed(generation))
            except RebalanceAgain:
                continue  # other partitions are ours now
            except ServiceStopped:  # also what Faust makes of a time-out
                if self.should_stop:
                    break
                self.log.warning("the broker does not say where to go on: recovering anew")
                self.signal_recovery_start.set()
            except Exception as error:
                if not self.signal_recovery_start.is_set() and generation == self.app.consumer_generation_id:
                    self.app.fail(error)  # no rebalance explains it

    @Service.task
    async def _publish_stats(self) -> None:
        """Stock compares counters here that are not kept, and raises an alarm."""

    @Service.task
    async def _slurp_changelogs(self) -> None:
        """Stock takes the changelog off a queue here."""

    async def _recover(self, changelogs: Collection[TP]) -> None:
        while True:
            try:
                await self._read(changelogs)
                return
            except (KafkaError, OSError) as error:
                self.log.warning("changelog: %r; trying again", error)
                await asyncio.sleep(RETRY_SECONDS)

    async def _read(self, changelogs: Collection[TP]) -> None:
        """Apply what RocksDB lacks of some changelog partitions, up to the ends that they have now."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.app.settings.brokers,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=FETCH_BYTES,
        )
        try:
            await consumer.start()
            partitions = {TopicPartition(tp.topic, tp.partition): self.tp_to_table[tp] for tp in changelogs}
            ends = await consumer.end_offsets(partitions)
            beginnings = await consumer.beginning_offsets(partitions)
            begin = {
                tp: max(self._after_stored(tp, table, ends[tp]), beginnings[tp]) for tp, table in partitions.items()
            }
            left = {tp for tp in partitions if begin[tp] < ends[tp]}
            while left:
                if left != consumer.assignment():
                    positions = {tp: begin[tp] for tp in left}
                    consumer.assign(left)
                    for tp, offset in positions.items():
                        consumer.seek(tp, offset)
                for tp, records in (await consumer.getmany(*left, timeout_ms=FETCH_MS)).items():
                    partitions[tp].data.recover(tp.partition, records, records[-1].offset)
                    await asyncio.sleep(0)
                for tp in left:
                    begin[tp] = await consumer.position(tp)  # beyond the last record, where the log has a hole
                left = {tp for tp in left if begin[tp] < ends[tp]}
        finally:
            await consumer.stop()

    def _after_stored(self, tp: TopicPartition, table: SessionTable, end: int) -> int:
        """The first offset that RocksDB lacks; 0 where it holds nothing, or states of a log that is no more."""
        stored = table.persisted_offset(TP(tp.topic, tp.partition))
        if stored is not None and stored >= end:
            self.log.warning(
                "%s %d ends at %d, the stored states go to %d: that log was replaced, starting over from it",
                tp.topic, tp.partition, end, stored,
            )  # fmt: skip
            table.data.forget(tp.partition)
            stored = None
        return 0 if stored is None else stored + 1


class BulkTableManager(TableManager):
    """Faust's table manager with the bulk recovery."""

    _recovery: BulkRecovery | None

    @property
    def recovery(self) -> BulkRecovery:
        """The recovery service."""
        if self._recovery is None:
            self._recovery = BulkRecovery(self.app, self, beacon=self.beacon, loop=self.loop)
        return self._recovery
