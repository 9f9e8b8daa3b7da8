"""The thread that talks to Kafka: fetches that fail, what the end of a partition is, and whether the thread runs."""

from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError, TopicAuthorizationFailedError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from schemas.errors import BrokerError
from schemas.settings import Settings
from worker.delivery import consumer_thread as module
from worker.delivery.consumer_thread import ConsumerThread
from worker.delivery.fetches import Coverage
from worker.delivery.outage import Outage

TP0 = TP("clicks", 0)
NOW = 1_790_000_000.0


class StubThread(ConsumerThread):
    """A thread without Faust; `kept` is aiokafka's state of partition 0."""

    def __init__(self) -> None:
        self.app = SimpleNamespace(settings=Settings(_env_file=None), outage=Outage())  # type: ignore[assignment]
        self.kept = SimpleNamespace(timestamp=NOW * 1000, lso=42, position=7, has_valid_position=True)
        self._coverage = Coverage()
        self._last_turn = 100.0

    def _state_of(self, tp: TP) -> Any:
        return self.kept if tp == TP0 else None


@pytest.fixture
def thread(monkeypatch: pytest.MonkeyPatch) -> StubThread:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.0)
    monkeypatch.setattr(module, "time", SimpleNamespace(time=lambda: NOW))
    return StubThread()


@pytest.mark.parametrize(("age_ms", "end"), [(0, 42), (1500, 42), (9_999, 42), (10_001, None), (3_600_000, None)])
def test_the_end_of_a_partition_is_what_a_fetch_saw_lately(thread: StubThread, age_ms: int, end: int | None) -> None:
    thread.kept.timestamp = NOW * 1000 - age_ms
    assert thread.end_of(TP0) == end


def test_of_a_partition_that_was_not_fetched_nothing_is_known(thread: StubThread) -> None:
    assert thread.end_of(TP("clicks", 1)) is None
    assert thread.position_of(TP("clicks", 1)) is None
    assert thread.position_of(TP0) == 7
    thread.kept.timestamp = None
    assert thread.end_of(TP0) is None
    thread.kept.has_valid_position = False
    assert thread.position_of(TP0) is None


def test_a_thread_tells_how_long_ago_its_loop_ran(thread: StubThread, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "monotonic", lambda: 161.0)
    assert thread.seconds_since_turn == 61.0
    thread.turn()
    assert thread.seconds_since_turn == 0.0


def fails_with(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    async def fetch(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(driver.AIOKafkaConsumerThread, "_fetch_records", fetch)


async def test_a_fetch_that_fails_is_tried_again(thread: StubThread, monkeypatch: pytest.MonkeyPatch) -> None:
    fails_with(monkeypatch, KafkaConnectionError("away"))
    assert await thread._fetch_records(None, {TP0}) == {}
    assert thread.app.outage.longest() is not None


async def test_a_fetch_that_is_denied_ends_with_a_line(thread: StubThread, monkeypatch: pytest.MonkeyPatch) -> None:
    fails_with(monkeypatch, TopicAuthorizationFailedError({"clicks"}))
    with pytest.raises(BrokerError, match="clicks are not fetched"):
        await thread._fetch_records(None, {TP0})


async def test_an_error_that_is_not_of_kafka_is_raised_as_it_is(
    thread: StubThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails_with(monkeypatch, ZeroDivisionError("a defect"))
    with pytest.raises(ZeroDivisionError, match="a defect"):
        await thread._fetch_records(None, {TP0})
    assert thread.app.outage.longest() is None


async def test_a_fetch_says_what_it_covers(thread: StubThread, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fetch(*_: Any, **__: Any) -> dict[TP, list[Any]]:
        thread.kept.position = 9
        return {TP0: [SimpleNamespace(offset=8)]}

    monkeypatch.setattr(driver.AIOKafkaConsumerThread, "_fetch_records", fetch)
    fetched = await thread._fetch_records(None, {TP0})
    assert (fetched[TP0].begins, fetched[TP0].next) == (7, 9)
