"""After a recovery, reading goes on where the committed offset says, if that offset counts in the log that exists."""

import asyncio
from collections import defaultdict
from collections.abc import Collection, Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from messaging.topic_identity import TopicIdentity
from schemas.settings import Settings
from worker.delivery.consumer import Consumer
from worker.delivery.log_watch import LogWatch
from worker.delivery.outage import Outage
from worker.delivery.progress import Progress
from worker.delivery.records import RecordBatch
from worker.delivery.resume import CommitNote, PartitionLog, Sight, StoredOffset
from worker.delivery.source import ClickSource

CLICKS, OTHER, CHANGELOG = TP("clicks", 0), TP("clicks", 1), TP("changelog", 0)
TIME = 1_790_000_000_000


class Watch(LogWatch):
    """A watch that sees given partitions."""

    def __init__(self, seen: dict[int, Sight]) -> None:
        super().__init__(Settings(_env_file=None), Outage())
        self.seen = seen
        self.identity = TopicIdentity("A", "C", 2)

    async def sights(self, partitions: Collection[int]) -> dict[int, Sight]:
        return {number: self.seen[number] for number in partitions}

    async def first_since(self, partition: int, timestamp: int) -> int | None:
        assert timestamp == TIME - 60_000
        return None if partition else 30


class StubConsumer(Consumer):
    """A consumer without Faust and Kafka; `committed` has offset and metadata of the commits."""

    def __init__(self, committed: dict[TP, tuple[int, str]], seen: dict[int, Sight]) -> None:
        self.committed, self.sought = committed, dict[TP, int]()
        self.progress = Progress()
        self._stored = {tp: StoredOffset(70, CommitNote("A", "C", TIME)) for tp in (CLICKS, OTHER)}
        self._committed_offset = defaultdict(lambda: None, {CLICKS: 70, OTHER: 70})
        self.app = SimpleNamespace(  # type: ignore[assignment]
            settings=Settings(_env_file=None),
            source=ClickSource(lambda: self),
            log_watch=Watch(seen),
            outage=Outage(),
            recovered_generation=1,
            consumer_generation_id=1,
        )

    flow_active = True

    def assignment(self) -> set[TP]:
        return {CLICKS, OTHER, CHANGELOG}

    async def seek_to_committed(self) -> Mapping[TP, int]:
        return {}

    async def _committed(self, *tps: TP) -> Mapping[TP, tuple[int, str]]:
        return {tp: self.committed[tp] for tp in tps if tp in self.committed}

    async def _seek(self, partition: TP, offset: int) -> None:
        self.sought[partition] = offset


def consumer(*, log: str = "A", topic_id: str = "A", end: int = 100, offset: int = 60, **changes: Any) -> StubConsumer:
    text = changes.get("text", CommitNote(log, "C", TIME).text())
    committed = {} if offset < 0 else {CLICKS: (offset, text), OTHER: (offset, text)}
    return StubConsumer(committed, dict.fromkeys((0, 1), Sight(topic_id, "C", 5, end)))


async def test_in_the_same_log_reading_goes_on_at_the_committed_offset(caplog: pytest.LogCaptureFixture) -> None:
    stub = consumer()
    await stub.perform_seek()
    assert stub.sought == {CLICKS: 60, OTHER: 60}
    assert stub.app.source.reading() == {0: (PartitionLog("A", 100), 60), 1: (PartitionLog("A", 100), 60)}
    assert stub._committed_offset[CLICKS] == 60
    assert stub._stored[CLICKS] == 70  # stored and not committed yet
    assert not caplog.records


async def test_the_last_clicks_of_a_topic_are_taken_however_soon_they_are_fetched_after_the_seek() -> None:
    class Fetching(StubConsumer):
        """Fetches while it seeks; no click comes after the one fetched then."""

        async def _seek(self, partition: TP, offset: int) -> None:
            record = SimpleNamespace(offset=offset, key=b"s", value=b"{}")
            self.app.source.queue.put_nowait(RecordBatch(*partition, 1, [record]))
            await asyncio.sleep(0)  # the source takes what is there

    known = consumer()
    stub = Fetching(known.committed, known.app.log_watch.seen)
    taken = asyncio.create_task(stub.app.source.take(10))
    await asyncio.sleep(0)
    await stub.perform_seek()
    assert [batch.first for batch in await asyncio.wait_for(taken, 5)] == [60]


async def test_a_new_log_is_read_from_its_beginning_and_nothing_of_the_old_one_is_committed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stub = consumer(log="old")
    await stub.perform_seek()
    assert stub.sought == {CLICKS: 5, OTHER: 5}
    assert stub.app.source.reading()[0] == (PartitionLog("A", 100), 5)
    assert stub._committed_offset[CLICKS] is None  # lower offsets are committed again
    assert not stub._stored
    await stub.perform_seek()
    assert len(caplog.records) == 1  # of both partitions, and both times
    assert "this one is A, offsets and session states are of old" in caplog.text


async def test_a_truncated_log_is_read_from_the_time_of_the_last_click(caplog: pytest.LogCaptureFixture) -> None:
    stub = consumer(end=50)
    await stub.perform_seek()
    assert stub.sought == {CLICKS: 30, OTHER: 50}  # no record of partition 1 is that young
    assert stub.app.source.reading()[0] == (PartitionLog("A.1", 50), 30)
    assert not stub._stored
    assert "clicks 0 ends at offset 50, and clicks up to 59 were answered" in caplog.text


async def test_offsets_set_by_hand_are_used_and_marked() -> None:
    stub = consumer(text="", offset=10)
    await stub.perform_seek()
    assert stub.app.source.reading()[0] == (PartitionLog("A", 100, noted=False), 10)


async def test_nothing_is_read_if_a_rebalance_came_meanwhile() -> None:
    stub = consumer()
    stub.app.consumer_generation_id = 2
    await stub.perform_seek()
    assert stub.app.source.reading() == {}
    assert stub._committed_offset[CLICKS] == 70


def test_an_offset_is_committed_with_its_log() -> None:
    stub = consumer()
    stub.stored(CLICKS, 80, "A.2", TIME)
    stored = stub._new_offset(CLICKS)
    assert (stored, stored.note) == (80, CommitNote("A.2", "C", TIME))
    stub.stored(CLICKS, 81, "A.2", TIME * 2)
    assert stub._stored[CLICKS].note.time < TIME * 1.5  # a producer's clock is ahead
