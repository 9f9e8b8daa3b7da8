"""The thread that talks to the broker: fetches, commits and seeks, and the worker's membership of its group.

Changes to Faust's (`faust/transport/drivers/aiokafka.py` of faust-streaming 0.15.3):

- Clicks of aborted transactions are not fetched.
- A fetch says which offsets it covers, see `fetches`.
- `seek_here` runs on this thread. Faust's seeks from another thread.
- A commit that fails is tried again. Faust's stops the worker.
- An error that passes by itself does not end a fetch; one that stays ends the worker with one line.
- The group's coordinator is watched, see `membership`.
"""

import asyncio
import time
from collections.abc import Collection, Mapping
from time import monotonic
from typing import Any, NoReturn, Protocol

from aiokafka.errors import KafkaError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from messaging.clients import broker_error, secured
from messaging.failures import UnreadableBatch, passes, unreadable_batch
from schemas.settings import Settings
from worker.delivery.fetches import Coverage, Fetch
from worker.delivery.membership import Membership
from worker.delivery.outage import Outage
from worker.delivery.resume import StoredOffset

RETRY_SECONDS = 0.5
"""Pause before a request that failed is sent again."""

COMMIT_SECONDS = 10.0
"""Longest wait for one commit; the next one includes its offsets."""

FRESH_MS = 10_000
"""A fetch is answered after 1.5 s even where there is nothing to fetch; an older one says nothing about now."""


class FailingApp(Protocol):
    """What the thread uses of its app."""

    settings: Settings
    outage: Outage

    def fail(self, error: BaseException) -> NoReturn:
        """End the process with one line."""
        ...


class ConsumerThread(driver.AIOKafkaConsumerThread):
    """Faust's consumer thread with safe seeks, fetches that say what they cover, and a watched coordinator."""

    app: FailingApp
    membership: Membership | None = None

    _unreadable: UnreadableBatch | None = None
    """Until the positions are past it, messages are fetched one by one."""

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = secured(super()._create_worker_consumer(transport), self.app.settings, "worker-clicks")
        consumer._isolation_level = "read_committed"  # Faust reads committed messages only with its own transactions
        return consumer

    async def on_start(self) -> None:
        """Start the consumer; watch its coordinator and its positions."""
        self._coverage = Coverage()
        self._last_turn = monotonic()
        await super().on_start()
        consumer = self._ensure_consumer()
        self.membership = Membership(consumer._coordinator, self.app.settings, self.app.fail)
        update_positions = consumer._fetcher._update_fetch_positions

        async def noted_update(assignment: Any, node_id: int, partitions: Any) -> bool:
            self._coverage.forget(*partitions)
            needs_wakeup: bool = await update_positions(assignment, node_id, partitions)
            return needs_wakeup

        consumer._fetcher._update_fetch_positions = noted_update

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """A completed join counts as a heartbeat; the positions are new."""
        if self.membership is not None:
            self.membership.joined()
        self._coverage.forget()
        await super().on_partitions_assigned(assigned, generation_id)

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        """Commit offsets; False if the broker refuses or is silent. The next commit then includes these offsets."""
        consumer, what = self._ensure_consumer(), "offsets are not committed"
        mine = self.assignment()
        wanted = {driver.ensure_aiokafka_TP(tp): _with_note(offset) for tp, offset in offsets.items() if tp in mine}
        try:
            await asyncio.wait_for(consumer.commit(wanted), COMMIT_SECONDS)
        except (KafkaError, TimeoutError) as error:
            if not passes(error):
                self.app.fail(broker_error(error, self.app.settings, what))
            self.app.outage.failed(what, error)
            return False
        self.app.outage.worked(what)
        return True

    async def committed_here(self, tps: Collection[TP]) -> dict[TP, tuple[int, str]]:
        """Committed offsets with the metadata of their commits; partitions without one are left out."""
        coordinator = self._ensure_consumer()._coordinator
        found = await coordinator.fetch_committed_offsets([driver.ensure_aiokafka_TP(tp) for tp in tps])
        return {TP(tp.topic, tp.partition): (commit.offset, commit.metadata or "") for tp, commit in found.items()}

    async def refresh_metadata(self) -> None:
        """Ask for the topics of the group again. The group's leader then assigns partitions that came or went."""
        await self._ensure_consumer()._client.force_metadata_update()

    async def seek_here(self, tp: TP, offset: int) -> None:
        """Seek on the thread that fetches. From another thread, a seek during a fetch can be lost."""
        self._ensure_consumer().seek(driver.ensure_aiokafka_TP(tp), offset)
        self._coverage.moved(tp, offset)

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Seek to the committed offsets."""
        committed: Mapping[TP, int] = await self.call_thread(self._seek_to_committed_here)
        return committed

    async def _seek_to_committed_here(self) -> Mapping[TP, int]:
        try:
            committed: Mapping[TP, int] = await self._ensure_consumer().seek_to_committed()
        finally:
            self._coverage.forget()
        return committed

    async def _fetch_records(
        self, consumer: Any, active_partitions: Any, timeout: float | None = None, max_records: int | None = None
    ) -> dict[TP, Fetch]:
        """Fetch, and say what each fetch covers.

        Messages before a batch that cannot be read come first: they are fetched one by one, until that batch is next.
        """
        before = {tp: at for tp in active_partitions or () if (at := self.position_of(tp)) is not None}
        most = 1 if self._unreadable is not None else max_records
        what = "clicks are not fetched"
        try:
            fetched = await super()._fetch_records(consumer, active_partitions, timeout=timeout, max_records=most)
        except Exception as error:
            self._coverage.forget()  # messages of other partitions may have been dropped together with the error
            unreadable = unreadable_batch(error)
            if unreadable is not None and self._unreadable is None:
                self._unreadable = unreadable
                return {}
            if unreadable is None and not isinstance(error, KafkaError):
                raise
            self.app.outage.try_again(what, error, self.app.settings)
            await asyncio.sleep(RETRY_SECONDS)
            return {}
        self.app.outage.worked(what)
        if self._unreadable is not None and self._is_past(self._unreadable):
            self._unreadable = None
        return self._coverage.covered(fetched, before, self.position_of)

    def _is_past(self, batch: UnreadableBatch) -> bool:
        """Whether a batch could be read after all, or its partition is not read any more."""
        position = self.position_of(TP(batch.topic, batch.partition))
        return position is None or position > batch.offset

    def position_of(self, tp: TP) -> int | None:
        """The offset that is fetched next; None if the partition has no position yet, or is not assigned."""
        state = self._state_of(tp)
        return state.position if state is not None and state.has_valid_position else None

    def end_of(self, tp: TP) -> int | None:
        """The end of the partition for a reader of committed messages; None if no fetch has seen it lately."""
        state = self._state_of(tp)
        if state is None or state.timestamp is None or abs(time.time() * 1000 - state.timestamp) > FRESH_MS:
            return None
        return self.last_end_of(tp)

    def last_end_of(self, tp: TP) -> int | None:
        """The end of the partition at the last fetch, however long ago; None before the first one."""
        end: int | None = getattr(self._state_of(tp), "lso", None)
        return end

    def _state_of(self, tp: TP) -> Any:
        subscription = self._ensure_consumer()._subscription.subscription
        assignment = subscription and subscription.assignment
        key = driver.ensure_aiokafka_TP(tp)
        return assignment.state_value(key) if assignment and key in assignment.tps else None

    def dead_part(self) -> BaseException | str | None:
        """The part of the client that has ended or waits for us, with its error; None if all of them run."""
        consumer = self._ensure_consumer()
        coordinator, fetcher = consumer._coordinator, consumer._fetcher
        waiting: BaseException | None = coordinator._pending_exception
        if waiting is not None:
            return waiting  # aiokafka stops the coordination until somebody takes the error
        for name, task in (("coordinator", coordinator._coordination_task), ("fetcher", fetcher._fetch_task)):
            if task.done():
                error = None if task.cancelled() else task.exception()
                return f"its {name} ended" if error is None else error
        return None

    async def take_error(self) -> None:
        """Let the coordination go on after an error that passes by itself."""
        try:
            self._ensure_consumer()._coordinator.check_errors()
        except KafkaError as error:
            self.app.outage.failed("the consumer group is not joined", error)

    def turn(self) -> None:
        """Note that this thread's loop runs."""
        self._last_turn = monotonic()

    @property
    def seconds_since_turn(self) -> float:
        """How long ago this thread's loop ran `turn`."""
        return monotonic() - self._last_turn


def _with_note(offset: int) -> tuple[int, str]:
    return int(offset), offset.note.text() if isinstance(offset, StoredOffset) else ""
