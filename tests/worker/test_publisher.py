"""What the publisher does with records that the broker does not take, with a broker that takes limited messages."""

import asyncio
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import (
    KafkaConnectionError,
    MessageSizeTooLargeError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)

from schemas.errors import BrokerError
from schemas.settings import Settings
from worker.delivery import publisher as module
from worker.delivery.outage import Outage
from worker.delivery.publisher import OutgoingRecord, Publisher
from worker.delivery.records import RecordBatch
from worker.rejects import FIRST_CUT, MOST_BYTES, reject_copy, smaller_copy


@dataclass
class Batch:
    records: list[OutgoingRecord] = field(default_factory=list)

    @property
    def size(self) -> int:
        return sum(len(key or b"") + len(value or b"") for key, value, _ in self.records)

    def append(self, *, timestamp: int | None, key: Any, value: Any, headers: Any) -> object | None:
        assert timestamp is None
        if self.records and self.size + len(key or b"") + len(value or b"") > 1 << 20:
            return None
        self.records.append((key, value, headers))
        return object()


class Producer:
    """A topic of two partitions that takes batches up to a size, and raises prepared errors."""

    def __init__(self, most: int = 1 << 20) -> None:
        self.most = most
        self.errors: list[Exception] = []
        self.taken: dict[int, list[OutgoingRecord]] = {0: [], 1: []}
        self.batches = self.metadata_updates = 0
        self.client = SimpleNamespace(force_metadata_update=self._update)

    async def _update(self) -> None:
        self.metadata_updates += 1

    async def partitions_for(self, _topic: str) -> set[int]:
        return set(self.taken)

    def create_batch(self) -> Batch:
        return Batch()

    async def send_batch(self, batch: Batch, _topic: str, *, partition: int) -> asyncio.Future[Any]:
        self.batches += 1
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if self.errors:
            future.set_exception(self.errors.pop(0))
        elif batch.size > self.most:
            future.set_exception(MessageSizeTooLargeError())
        else:
            offset = len(self.taken[partition])
            self.taken[partition] += batch.records
            future.set_result(SimpleNamespace(offset=offset, timestamp=None, timestamp_type=0))
        return future


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_PAUSE", 0.0)


def publisher(producer: Producer, outage: Outage | None = None) -> Publisher:
    return Publisher(lambda: producer, Settings(_env_file=None), outage or Outage())  # type: ignore[arg-type]


def records(count: int, size: int = 10) -> list[OutgoingRecord]:
    return [(b"k", b"%d" % number + b"x" * (size - 1), None) for number in range(count)]


async def test_all_records_arrive_in_order_and_the_last_offsets_are_returned() -> None:
    producer = Producer()
    sent = {0: records(5), 1: records(3), 2: []}
    assert await publisher(producer).publish("t", sent, lambda: True) == {0: 4, 1: 2}
    assert producer.taken == {0: sent[0], 1: sent[1]}
    assert producer.batches == 2


async def test_more_than_one_batch_arrives_in_order() -> None:
    producer = Producer()
    sent = records(30, 100_000)
    assert await publisher(producer).publish("t", {1: sent}, lambda: True) == {1: 29}
    assert producer.taken[1] == sent


async def test_what_passes_is_tried_again_and_nothing_comes_twice() -> None:
    outage = Outage()
    producer = Producer()
    producer.errors = [KafkaConnectionError("away")] * 3
    assert await publisher(producer, outage).publish("t", {0: records(4)}, lambda: True) == {0: 3}
    assert producer.taken[0] == records(4)
    assert outage.longest() is None


async def test_nothing_more_is_tried_once_it_may_not_go_on() -> None:
    outage = Outage()
    producer = Producer()
    producer.errors = [KafkaConnectionError("away")] * 5
    tries = iter([True, True, False])
    assert await publisher(producer, outage).publish("t", {0: records(4)}, lambda: next(tries)) is None
    assert len(producer.errors) == 3
    assert outage.longest() is None


async def test_a_denied_write_is_one_line() -> None:
    producer = Producer()
    producer.errors = [TopicAuthorizationFailedError("t")]
    with pytest.raises(BrokerError, match=r"nothing can be written to topic 't': .* grant this client the topic"):
        await publisher(producer).publish("t", {0: records(1)}, lambda: True)


async def test_a_partition_that_does_not_exist_is_one_line_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MISSING_SECONDS", 0.05)
    producer = Producer()
    with pytest.raises(BrokerError, match=r"the topic has no partition 2: `nextclick topics`"):
        await publisher(producer).publish("t", {2: records(1)}, lambda: True)
    assert producer.metadata_updates


async def test_a_partition_that_appears_is_written_to() -> None:
    producer = Producer()
    producer.errors = [UnknownTopicOrPartitionError()] * 2
    assert await publisher(producer).publish("t", {0: records(2)}, lambda: True) == {0: 1}


async def test_records_that_are_too_large_together_are_written_in_smaller_batches() -> None:
    producer = Producer(most=250)
    sent = records(20, 100)
    assert await publisher(producer).publish("t", {0: sent}, lambda: True) == {0: 19}
    assert producer.taken[0] == sent


async def test_a_record_too_large_by_itself_is_one_line() -> None:
    with pytest.raises(BrokerError, match=r"does not take a message of 301 bytes: raise the topic's max.message.bytes"):
        await publisher(Producer(most=250)).publish("t", {0: records(1, 300)}, lambda: True)


def rejected(key: bytes | None, value: bytes | None, reason: str = "no click") -> OutgoingRecord:
    record = SimpleNamespace(key=key, value=value, offset=7, headers=())
    return reject_copy(RecordBatch("clicks", 1, 1, [record]), record, reason)


@pytest.mark.parametrize(("key", "size"), [(b"page", 3_000_000), (b"k" * 2_000_000, 10), (None, 3_000_000)])
async def test_a_reject_that_is_too_large_is_cut_and_those_beside_it_are_whole(key: bytes | None, size: int) -> None:
    producer = Producer(most=1_000_000)
    small = rejected(b"a", b"{}")
    sent = [small, rejected(key, b"v" * size), small]
    assert await publisher(producer).publish("t", {0: sent}, lambda: True, smaller_copy) == {0: 2}
    first, cut, last = producer.taken[0]
    assert first == last == small
    assert len(cut[0] or b"") + len(cut[1] or b"") == FIRST_CUT
    assert (cut[0] is None) == (key is None)
    headers = dict(cut[2] or [])
    assert headers["cut"] == f"key {len(key or b'')} bytes, value {size} bytes as received".encode()
    assert headers["offset"] == b"7"
    assert "cut" not in dict(small[2] or [])


async def test_a_reject_is_cut_further_until_it_fits() -> None:
    producer = Producer(most=1000)
    await publisher(producer).publish("t", {0: [rejected(b"k", b"v" * 50_000)]}, lambda: True, smaller_copy)
    ((key, value, headers),) = producer.taken[0]
    assert key == b"k"
    assert value is not None
    assert 400 < len(value) < 1000
    assert dict(headers or [])["cut"] == b"key 1 bytes, value 50000 bytes as received"


async def test_a_topic_that_takes_no_reject_at_all_is_one_line() -> None:
    with pytest.raises(BrokerError, match=r"raise the topic's max.message.bytes"):
        await publisher(Producer(most=-1)).publish("t", {0: [rejected(b"k", b"v")]}, lambda: True, smaller_copy)


def test_a_huge_reject_is_cut_before_it_is_sent() -> None:
    key, value, headers = rejected(b"k", b"v" * (MOST_BYTES + 1), "x" * 5000)
    assert key == b"k"
    assert value is not None
    assert len(value) == MOST_BYTES - 1
    assert len(dict(headers or [])["reason"]) == 1000
