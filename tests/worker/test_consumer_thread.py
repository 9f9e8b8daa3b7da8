"""What the thread that fetches does where a batch cannot be read; with a stand-in for Faust's fetch."""

from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import PartitionRecords
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from schemas.errors import BrokerError
from schemas.settings import Settings
from worker.delivery.consumer_thread import ConsumerThread
from worker.delivery.fetches import Coverage
from worker.delivery.outage import Outage

GOOD, BAD = TP("clicks", 0), TP("clicks", 1)


class Batches:
    """One readable partition and one whose message at offset 2 cannot be read, as aiokafka fetches them."""

    def __init__(self) -> None:
        self.positions = {GOOD: 0, BAD: 0}
        self.ends = {GOOD: 5, BAD: 5}
        self.damaged = True
        self.asked: list[int] = []

    async def fetch(self, _consumer: Any, active: Any, *, max_records: int, **_: Any) -> Any:
        self.asked.append(max_records)
        room, drained = max_records, {}
        for tp in active:
            begin = self.positions[tp]
            end = min(begin + room, self.ends[tp])
            if tp == BAD and self.damaged and end > 2:
                self._raise()
            if end > begin:
                drained[tp] = [SimpleNamespace(offset=offset) for offset in range(begin, end)]
                self.positions[tp], room = end, room - (end - begin)
            if not room:
                break
        return drained

    def _raise(self) -> None:
        records = PartitionRecords(TopicPartition(*BAD), Unreadable(), [], 2, None, None, True, "read_uncommitted")
        next(records)


class Unreadable:
    def has_next(self) -> bool:
        return True

    def next_batch(self) -> Any:
        return SimpleNamespace(validate_crc=lambda: False)


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> Batches:
    batches = Batches()
    monkeypatch.setattr(
        driver.AIOKafkaConsumerThread,
        "_fetch_records",
        lambda _thread, *args, **options: batches.fetch(*args, **options),
    )
    return batches


@pytest.fixture
def thread(batches: Batches) -> Any:
    thread = object.__new__(ConsumerThread)
    thread._coverage = Coverage()
    thread.app = SimpleNamespace(settings=Settings(_env_file=None), outage=Outage())
    thread.position_of = batches.positions.get  # type: ignore[method-assign]
    return thread


async def fetch(thread: Any, *partitions: TP) -> Any:
    return await thread._fetch_records(None, partitions, timeout=0.1, max_records=500)


async def test_messages_that_were_dropped_with_an_unreadable_batch_do_not_count_as_read(
    thread: Any, batches: Batches
) -> None:
    assert (await fetch(thread, GOOD))[GOOD].next == 5
    batches.ends[GOOD] = 8
    assert await fetch(thread, GOOD, BAD) == {}
    assert batches.positions[GOOD] == 8, "aiokafka has dropped offsets 5 to 7"
    batches.ends[GOOD] = 9
    assert (await fetch(thread, GOOD, BAD))[GOOD].begins == 8, "so that the source, which expects 5, seeks back"


@pytest.mark.usefixtures("batches")
async def test_messages_before_the_batch_are_read_one_by_one_and_then_it_ends_the_worker(thread: Any) -> None:
    assert await fetch(thread, BAD) == {}
    read = [await fetch(thread, BAD) for _ in range(2)]
    assert [[record.offset for record in each[BAD].records] for each in read] == [[0], [1]]
    with pytest.raises(BrokerError, match="partition 1: the batch at offset 2 cannot be read"):
        await fetch(thread, BAD)


async def test_whole_fetches_go_on_after_a_batch_that_can_be_read_at_a_second_try(
    thread: Any, batches: Batches
) -> None:
    assert await fetch(thread, BAD) == {}
    batches.damaged = False
    for _ in range(4):
        await fetch(thread, BAD)
    assert batches.asked == [500, 1, 1, 1, 500]
