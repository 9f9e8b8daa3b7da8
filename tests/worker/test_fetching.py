"""The consumer's loop: what is fetched is passed on as a whole, while the worker has partitions and its flow is on."""

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from schemas.settings import Settings
from worker.delivery.broker_clock import BrokerClock
from worker.delivery.consumer import Consumer
from worker.delivery.fetches import Fetch
from worker.delivery.progress import Progress
from worker.delivery.records import RecordBatch

CLICKS, CHANGELOG = TP("clicks", 0), TP("changelog", 0)


class StubConsumer(Consumer):
    """A consumer whose fetches the test prepares; after the last one it stops."""

    def __init__(self, fetches: list[dict[TP, Fetch] | Callable[[], dict[TP, Fetch]]]) -> None:
        self.fetches, self.pauses, self.stopping = fetches, list[float](), False
        self.active = {CLICKS, CHANGELOG}
        self.progress = Progress()
        self.fetcher = SimpleNamespace(should_stop=False)
        self.app = SimpleNamespace(  # type: ignore[assignment]
            settings=Settings(_env_file=None),
            clock=BrokerClock(),
            source=SimpleNamespace(queue=asyncio.Queue()),
            flow_control=SimpleNamespace(is_active=lambda: True),
            consumer_generation_id=3,
            should_stop=False,
        )
        self.flow_active = True

    @property
    def should_stop(self) -> bool:
        return self.stopping

    def _get_active_partitions(self) -> set[TP]:
        return self.active

    async def sleep(self, n: float, **_: Any) -> None:  # type: ignore[override]
        self.pauses.append(n)
        self.active = {CLICKS, CHANGELOG}

    async def _getmany(self, _active: Any, _timeout: float) -> Any:
        if not self.fetches:
            self.stopping = True
            return {}
        fetch = self.fetches.pop(0)
        return fetch() if callable(fetch) else fetch

    async def taken(self, run: Callable[[Any], Awaitable[None]] | None = None) -> list[tuple[TP, int, int | None, int]]:
        await asyncio.wait_for((run or self._drain_messages)(self.fetcher), 5)
        queue = self.app.source.queue
        batches = [queue.get_nowait() for _ in range(queue.qsize())]
        return [(batch.tp, batch.generation, batch.begins, batch.next) for batch in batches]


def fetch(begins: int, next_: int) -> Fetch:
    return Fetch([SimpleNamespace(offset=next_ - 1)], begins, next_)


async def test_what_is_fetched_is_passed_on_as_a_whole() -> None:
    consumer = StubConsumer([{CLICKS: fetch(0, 5), CHANGELOG: fetch(0, 9)}, {CLICKS: fetch(5, 6)}])
    assert await consumer.taken() == [(CLICKS, 3, 0, 5), (CHANGELOG, 3, 0, 9), (CLICKS, 3, 5, 6)]
    assert consumer.pauses == []


async def test_clicks_that_were_passed_on_are_under_way_until_they_are_stored() -> None:
    consumer = StubConsumer([{CLICKS: fetch(0, 5), CHANGELOG: fetch(0, 9)}])
    await consumer.taken()
    assert consumer.progress.under_way()
    consumer.progress.stored(CLICKS, 5)
    assert not consumer.progress.under_way()  # the changelog's records are no clicks


async def test_a_worker_without_partitions_looks_for_some_many_times_a_second_and_does_not_spin() -> None:
    consumer = StubConsumer([{CLICKS: fetch(0, 5)}])
    consumer.active = set()
    assert await consumer.taken() == [(CLICKS, 3, 0, 5)]
    (pause,) = consumer.pauses
    assert 0.01 <= pause <= 0.1


async def test_nothing_is_fetched_by_a_consumer_that_stops() -> None:
    consumer = StubConsumer([{CLICKS: fetch(0, 5)}])
    consumer.fetcher.should_stop = True
    assert await consumer.taken() == []
    assert consumer.fetches


async def test_a_rebalance_during_a_fetch_ends_what_is_passed_on() -> None:
    consumer = StubConsumer([])

    def rebalance() -> dict[TP, Fetch]:
        consumer.flow_active = False
        consumer.stopping = True
        return {CLICKS: fetch(0, 5)}

    consumer.fetches.append(rebalance)
    assert await consumer.taken() == []


async def test_clicks_that_wait_for_room_in_the_queue_are_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    other = TP("clicks", 1)
    consumer = StubConsumer([{CLICKS: fetch(0, 5), other: fetch(0, 7)}])
    under_way = []

    async def pass_on(_: RecordBatch) -> None:
        under_way.append(consumer.progress.lag(other, 7, 7))

    consumer.progress.stored(other, 0)
    monkeypatch.setattr(consumer, "_pass_on", pass_on)
    await consumer.taken()
    assert under_way == [7, 7]
