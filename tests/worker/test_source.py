"""The source gives the agent every click once and in order, despite rebalances and lost fetches."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest
from faust.types import TP

from worker.delivery.fetches import Coverage
from worker.delivery.records import RecordBatch
from worker.delivery.source import ClickSource


@dataclass
class Record:
    offset: int


@dataclass
class Consumer:
    group_generation: int = 1
    flow_active: bool = True
    seeks: list[tuple[int, int]] = field(default_factory=list)

    async def seek(self, tp: TP, offset: int) -> None:
        self.seeks.append((tp.partition, offset))


class Source(ClickSource):
    """A source with simulated fetches."""

    def __init__(self) -> None:
        self.consumer = Consumer()
        super().__init__(lambda: self.consumer)

    def fetched(self, partition: int, first: int, next_: int, generation: int = 1) -> None:
        records: list[Any] = [Record(offset) for offset in range(first, next_)]
        self.queue.put_nowait(RecordBatch("clicks", partition, generation, records))

    def covered(self, partition: int, begins: int, offsets: list[int], ends: int) -> None:
        """A fetch that covers the offsets from `begins` to `ends`, some of them without a record."""
        records: list[Any] = [Record(offset) for offset in offsets]
        self.queue.put_nowait(RecordBatch("clicks", partition, 1, records, begins, ends))

    def begin(self, generation: int = 1, **positions: int) -> None:
        self.consumer.group_generation = generation
        self.restart({TP("clicks", int(name[1:])): offset for name, offset in positions.items()}, generation)

    async def took(self, limit: int = 100) -> list[tuple[int, int, int]]:
        taken = await asyncio.wait_for(self.take(limit), 1)
        return [(batch.partition, batch.first, batch.next) for batch in taken]


@pytest.fixture
def source() -> Source:
    return Source()


async def test_what_is_there_is_taken_up_to_the_limit(source: Source) -> None:
    source.begin(p0=0, p1=5)
    source.fetched(0, 0, 4)
    source.fetched(1, 5, 12)
    assert await source.took(6) == [(0, 0, 4), (1, 5, 7)]
    assert source.more_is_waiting
    assert await source.took(6) == [(1, 7, 12)]
    assert not source.more_is_waiting


async def test_a_click_comes_once_though_it_is_fetched_twice(source: Source) -> None:
    source.begin(p0=3)
    source.fetched(0, 1, 5)
    source.fetched(0, 2, 5)
    source.fetched(0, 4, 8)
    assert await source.took() == [(0, 3, 5), (0, 5, 8)]


async def test_where_a_fetch_was_lost_it_is_fetched_again(source: Source) -> None:
    source.begin(p0=0, p1=0)
    source.fetched(1, 0, 2)
    source.fetched(0, 4, 6)
    source.fetched(0, 6, 8)
    assert await source.took() == [(1, 0, 2)]
    with pytest.raises(TimeoutError):
        await source.took()
    assert source.consumer.seeks == [(0, 0)]
    source.fetched(0, 0, 8)
    assert await source.took() == [(0, 0, 8)]


async def test_a_hole_in_the_log_itself_is_passed(source: Source, caplog: pytest.LogCaptureFixture) -> None:
    source.begin(p0=0)
    source.fetched(0, 4, 6)
    source.fetched(0, 4, 6)
    assert await source.took() == [(0, 4, 6)]
    assert source.consumer.seeks == [(0, 0)]
    (record,) = caplog.records
    assert record.getMessage().startswith("clicks 0 has no offsets 0 to 3: up to 4 clicks are lost")
    assert (source.lost_offsets, source.empty_offsets) == (4, 0)


async def test_a_fetch_from_before_a_hole_is_sought_again_and_those_after_it_are_not(source: Source) -> None:
    source.begin(p0=0)
    source.fetched(0, 6, 8)
    source.fetched(0, 8, 9)
    source.fetched(0, 4, 6)
    source.fetched(0, 5, 6)
    with pytest.raises(TimeoutError):
        await source.took()
    assert source.consumer.seeks == [(0, 0), (0, 0)]


async def test_a_fetch_that_covers_a_hole_behind_known_clicks_is_taken(source: Source) -> None:
    source.begin(p0=1)
    source.covered(0, 0, [0, 5], 6)  # 1 to 4 are empty
    assert await source.took() == [(0, 5, 6)]
    assert not source.consumer.seeks


async def test_what_is_fetched_between_the_assignment_and_the_restart_is_not_taken(source: Source) -> None:
    source.begin(p0=0)
    source.consumer.group_generation = 2
    source.fetched(1, 32, 33, generation=2)
    with pytest.raises(TimeoutError):
        await source.took()
    source.begin(generation=2, p0=0, p1=0)
    source.fetched(1, 0, 40, generation=2)
    assert await source.took() == [(1, 0, 40)]


async def test_what_belongs_to_an_earlier_generation_is_not_taken(source: Source) -> None:
    source.begin(p0=0)
    source.fetched(0, 0, 5)
    source.begin(generation=2, p0=0, p1=0)
    source.fetched(0, 0, 3, generation=2)
    assert await source.took() == [(0, 0, 3)]


async def test_what_was_fetched_before_a_rebalance_is_not_taken_after_it(source: Source) -> None:
    source.begin(p0=0)
    source.fetched(0, 0, 5)
    source.consumer.group_generation = 2
    with pytest.raises(TimeoutError):
        await source.took()


async def test_a_restart_for_a_generation_that_has_passed_opens_nothing(source: Source) -> None:
    source.consumer.group_generation = 2
    source.restart({TP("clicks", 0): 0}, 1)
    source.fetched(0, 0, 3, generation=2)
    with pytest.raises(TimeoutError):
        await source.took()


async def test_what_waited_is_void_after_a_halt_and_when_the_flow_stops(source: Source) -> None:
    source.begin(p0=0)
    source.fetched(0, 0, 5)
    assert await source.took(2) == [(0, 0, 2)]
    source.halt()
    with pytest.raises(TimeoutError):
        await source.took()
    source.begin(p0=2)
    source.consumer.flow_active = False
    source.fetched(0, 2, 5)
    with pytest.raises(TimeoutError):
        await source.took()


async def test_ends_of_transactions_are_passed_without_a_seek_or_a_word(
    source: Source, caplog: pytest.LogCaptureFixture
) -> None:
    source.begin(p0=0)
    source.covered(0, 0, [0], 2)  # offset 1 ends the transaction
    source.covered(0, 2, [2], 4)
    source.covered(0, 4, [7, 8], 10)  # 4 to 6 were aborted
    assert await source.took() == [(0, 0, 2), (0, 2, 4), (0, 7, 10)]
    assert source.empty_offsets == 6
    assert not source.consumer.seeks
    assert not caplog.records


async def test_fetches_without_a_record_are_covered_by_the_next_one(source: Source) -> None:
    source.begin(p0=0)
    source.covered(0, 0, [0], 1)
    source.covered(0, 1, [9], 10)  # nothing was handed on of the fetches between
    assert await source.took() == [(0, 0, 1), (0, 9, 10)]
    assert not source.consumer.seeks


async def test_a_lost_fetch_is_fetched_again_where_the_log_has_transactions(source: Source) -> None:
    source.begin(p0=0)
    source.covered(0, 2, [2], 4)  # the fetch from 0 to 2 was lost
    with pytest.raises(TimeoutError):
        await source.took()
    assert source.consumer.seeks == [(0, 0)]
    source.covered(0, 0, [0, 2], 4)
    assert await source.took() == [(0, 0, 4)]


async def test_a_split_batch_covers_the_same_offsets(source: Source) -> None:
    source.begin(p0=0)
    source.covered(0, 0, [1, 4, 6], 8)
    assert await source.took(1) == [(0, 1, 2)]
    assert await source.took(1) == [(0, 4, 5)]
    assert await source.took(1) == [(0, 6, 8)]
    assert source.empty_offsets == 5


async def test_only_the_empty_end_of_a_known_fetch_is_left(source: Source) -> None:
    source.begin(p0=3)
    source.covered(0, 1, [1, 2], 5)
    source.covered(0, 5, [5], 6)
    assert await source.took() == [(0, 5, 6)]
    assert not source.consumer.seeks


def test_coverage_goes_on_where_the_fetch_before_ended() -> None:
    tp = TP("clicks", 0)
    coverage = Coverage()
    position = 3

    def fetch(before: int | None) -> tuple[int | None, int]:
        found = coverage.covered({tp: [Record(2)]}, {} if before is None else {tp: before}, lambda _tp: position)
        return found[tp].begins, found[tp].next

    assert fetch(0) == (0, 3)
    position = 9
    assert fetch(7) == (3, 9)  # 3 to 7 were fetched and had no record
    coverage.moved(tp, 1)
    position = 4
    assert fetch(1) == (1, 4)
    coverage.forget(tp)
    position = 30
    assert fetch(None) == (None, 30)
    coverage.forget()
    assert fetch(28) == (28, 30)
