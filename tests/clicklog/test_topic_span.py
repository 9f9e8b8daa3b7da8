"""Which messages of the topic are read, with a fake consumer."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from aiokafka import TopicPartition

from clicklog import topic_span
from clicklog.columns import ClickColumns
from clicklog.topic_span import PartitionSpan, read_spans
from schemas.errors import BrokerError
from schemas.settings import Settings

FIRST, SECOND = TopicPartition("clicks", 0), TopicPartition("clicks", 1)


@dataclass
class Record:
    offset: int
    timestamp: int = 0

    @property
    def key(self) -> bytes:
        return b"7"

    @property
    def value(self) -> bytes:
        return b'{"session_id": 7, "item_id": 1, "timestamp": %d}' % (1000 + self.offset)


@dataclass
class Consumer:
    """Each fetch returns two messages of each partition that is not paused; some offsets have no message."""

    ends: dict[TopicPartition, int]
    without_message: set[int] = field(default_factory=set)
    positions: dict[TopicPartition, int] = field(default_factory=dict)
    paused: list[TopicPartition] = field(default_factory=list)

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self.positions[partition] = offset

    def pause(self, partition: TopicPartition) -> None:
        self.paused.append(partition)

    async def position(self, partition: TopicPartition) -> int:
        return self.positions[partition]

    async def getmany(
        self, *partitions: TopicPartition, timeout_ms: int, max_records: int | None
    ) -> dict[TopicPartition, list[Record]]:
        assert timeout_ms
        assert max_records is None
        fetched = {}
        for partition in partitions:
            begin, end = self.positions[partition], min(self.positions[partition] + 2, self.ends[partition])
            fetched[partition] = [Record(offset) for offset in range(begin, end) if offset not in self.without_message]
            self.positions[partition] = end
        return fetched


async def read(consumer: Consumer, *spans: PartitionSpan, **options: Any) -> dict[int, ClickColumns]:
    return await read_spans(consumer, spans, Settings(), **options)  # type: ignore[arg-type]


async def test_a_span_is_read_from_its_first_offset_to_its_end_and_no_further() -> None:
    consumer = Consumer({FIRST: 90, SECOND: 90})
    seen: list[tuple[int, int]] = []
    columns = await read(
        consumer,
        PartitionSpan(FIRST, 0, 3, 8),
        PartitionSpan(SECOND, 5, 5, 5),
        progress=lambda done, all_: seen.append((done, all_)),
    )
    assert columns[0].offset == [3, 4, 5, 6, 7]
    assert columns[1].offset == []
    assert seen == [(2, 5), (4, 5), (5, 5)]
    assert set(consumer.paused) == {FIRST, SECOND}, "nothing more is fetched of them"


async def test_a_last_offset_without_a_message_ends_the_span_too() -> None:
    consumer = Consumer({FIRST: 4}, without_message={3})
    assert (await read(consumer, PartitionSpan(FIRST, 0, 0, 4)))[0].offset == [0, 1, 2]


async def test_clicks_outside_a_span_of_time_are_read_and_left_out() -> None:
    columns = await read(Consumer({FIRST: 9}), PartitionSpan(FIRST, 0, 0, 9), since=1002, until=1005)
    assert columns[0].timestamp == [1002, 1003, 1004]
    assert columns[0].skipped == 0


async def test_a_broker_that_goes_silent_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topic_span, "SILENCE_SECONDS", 0.0)
    with pytest.raises(BrokerError, match=r"sent nothing of topic 'clicks' for 0 s, 6 messages before its end"):
        await read(Consumer({FIRST: 4, SECOND: 4}), PartitionSpan(FIRST, 0, 0, 8), PartitionSpan(SECOND, 0, 2, 6))
