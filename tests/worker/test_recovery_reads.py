"""Which records of the changelog a recovery reads, without a Kafka."""

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError

from messaging.topic_identity import TopicIdentity
from schemas.settings import Settings
from tests.worker.test_recovery import Worker, state
from worker.delivery import recovery


@dataclass
class Record:
    offset: int
    key: bytes
    value: bytes | None


class Changelog:
    """A changelog and a consumer of it. A fetch brings at most 10 records of each partition."""

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self.log: dict[int, list[Record]] = {number: [] for number in range(4)}
        self.begin, self.ends = dict.fromkeys(range(4), 0), dict.fromkeys(range(4), 0)
        self.at: dict[TopicPartition, int] = {}
        self.fetched: list[tuple[int, int]] = []

    def add(self, partition: int, offsets: Iterable[int], end: int) -> None:
        """Records at some offsets; click c belongs to session c modulo 700. The others were compacted."""
        self.log[partition] += [Record(offset, b"s%d" % (offset % 700), state(offset)) for offset in offsets]
        self.ends[partition] = end

    async def start(self) -> None:
        self.at = {}

    async def stop(self) -> None:
        """Nothing to do."""

    async def end_offsets(self, places: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        return {place: self.ends[place.partition] for place in places}

    async def beginning_offsets(self, places: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        return {place: self.begin[place.partition] for place in places}

    def assignment(self) -> set[TopicPartition]:
        return set(self.at)

    def assign(self, places: Iterable[TopicPartition]) -> None:
        self.at = {place: self.begin[place.partition] for place in places}

    def seek(self, place: TopicPartition, offset: int) -> None:
        self.at[place] = offset

    async def position(self, place: TopicPartition) -> int:
        return self.at[place]

    async def getmany(self, *places: TopicPartition, timeout_ms: int) -> dict[TopicPartition, list[Record]]:
        assert timeout_ms > 0
        found = {}
        for place in places:
            left = [record for record in self.log[place.partition] if record.offset >= self.at[place]]
            self.at[place] = left[9].offset + 1 if len(left) > 10 else self.ends[place.partition]
            if left:
                found[place] = left[:10]
                self.fetched += [(place.partition, record.offset) for record in left[:10]]
        return found


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """A worker, and a changelog without a Kafka."""
    settings = Settings(_env_file=None, partitions=4)
    changelog = Changelog(settings.changelog_topic)

    def consumer(*_: object, **_options: Any) -> Changelog:
        return changelog

    async def identity(*_: object) -> TopicIdentity:
        return TopicIdentity("A", "C", 4)

    async def nothing(*_: object) -> dict[TopicPartition, int]:
        return {}

    monkeypatch.setattr(recovery, "new_consumer", consumer)
    monkeypatch.setattr(recovery, "topic_identity", identity)
    monkeypatch.setattr(recovery, "lost_changelogs", nothing)
    monkeypatch.setattr(recovery, "write_again", nothing)
    worker = Worker(settings, tmp_path)
    yield SimpleNamespace(worker=worker, changelog=changelog)
    worker.close()


async def test_each_partition_is_read_to_its_own_end(local: SimpleNamespace) -> None:
    local.changelog.add(0, range(35), 35)
    local.changelog.add(1, range(5), 5)
    local.changelog.add(2, [3, 7], 20)  # most of it was compacted
    await asyncio.wait_for(local.worker.recovery._read(local.worker.changelogs), 20)
    read = local.worker.states
    assert read(0)[:36] == [*map(state, range(35)), None]
    assert read(1)[:6] == [*map(state, range(5)), None]
    assert [number for number, packed in enumerate(read(2)) if packed] == [3, 7]
    offsets = [local.worker.table.persisted_offset(tp) for tp in local.worker.changelogs]
    assert offsets == [34, 4, 7, None]


async def test_only_what_the_disk_lacks_is_read(local: SimpleNamespace) -> None:
    local.changelog.add(0, range(12), 12)
    local.changelog.add(1, range(3), 3)
    await asyncio.wait_for(local.worker.recovery._read(local.worker.changelogs), 20)
    local.changelog.fetched.clear()
    local.changelog.add(0, [12, 13], 14)
    await asyncio.wait_for(local.worker.recovery._read(local.worker.changelogs), 20)
    assert local.changelog.fetched == [(0, 12), (0, 13)]
    assert local.worker.states(0)[:15] == [*map(state, range(14)), None]


async def test_another_try_counts_its_offsets_anew(local: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    local.changelog.add(0, range(35), 35)
    recovery, fetch = local.worker.recovery, local.changelog.getmany

    async def fails_later(*places: TopicPartition, timeout_ms: int) -> dict[TopicPartition, list[Record]]:
        if len(local.changelog.fetched) == 20:
            monkeypatch.setattr(local.changelog, "getmany", fetch)
            raise KafkaConnectionError
        found: dict[TopicPartition, list[Record]] = await fetch(*places, timeout_ms=timeout_ms)
        return found

    monkeypatch.setattr(local.changelog, "getmany", fails_later)
    recovery.progress.begin()
    with pytest.raises(KafkaConnectionError):
        await asyncio.wait_for(recovery._read(local.worker.changelogs), 20)
    assert (recovery.progress.read, recovery.progress.to_read) == (20, 35)
    await asyncio.wait_for(recovery._read(local.worker.changelogs), 20)
    assert (recovery.progress.read, recovery.progress.to_read) == (15, 15)
    assert recovery.progress.seconds_left == 0
