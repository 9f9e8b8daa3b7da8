"""Recovery: RocksDB catches up with the changelog from any earlier point."""

import asyncio
import gc
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from faust.types import TP

from schemas.settings import Settings
from tests.worker.disk import flip_a_bit
from worker.delivery.app import DeliveryApp
from worker.session_state import ModelState, SessionState, pack

CLICKS = 3000


def state(offset: int) -> bytes:
    return pack(SessionState(0, offset, 0, 0, [offset], ModelState(None, b"", [], "")))


async def produce(settings: Settings, partition: int, first: int, end: int, sessions: int = 700) -> None:
    """Produce the states after clicks `first` to `end` - 1; click c belongs to session c modulo `sessions`."""
    async with AIOKafkaProducer(bootstrap_servers=settings.brokers) as producer:
        for offset in range(first, end):
            key = b"s%d" % (offset % sessions)
            await producer.send(settings.changelog_topic, state(offset), key=key, partition=partition)


class Worker:
    """Only the table of a worker and its recovery."""

    def __init__(self, settings: Settings, data: Path) -> None:
        self.app = DeliveryApp(settings.model_copy(update={"data_dir": data}))
        self.recovery = self.app.tables.recovery
        self.table = self.app.sessions
        self.changelogs = [TP(settings.changelog_topic, number) for number in range(settings.partitions)]
        self.answered: dict[int, int] = {}

        async def answered_up_to(_partitions: Iterable[int]) -> dict[int, int]:
            return self.answered

        self.app.consumer.answered_up_to = answered_up_to
        self.app.consumer.is_member = lambda: True
        self.app.consumer_generation_id = self.recovery._generation_id

    async def recover(self) -> None:
        self.app._changelog_producer = AIOKafkaProducer(bootstrap_servers=self.app.settings.brokers)
        async with self.app._changelog_producer:
            await self.recovery._read(self.changelogs)

    def states(self, partition: int) -> list[bytes | None]:
        return self.table.data.read(partition, [b"s%d" % number for number in range(700)])

    def close(self) -> None:
        self.table.data._dbs.clear()


@pytest.fixture
def worker(kafka_settings: Settings, tmp_path: Path) -> Iterator[Worker]:
    worker = Worker(kafka_settings, tmp_path)
    yield worker
    worker.close()


def newest(end: int, sessions: int = 700) -> list[bytes | None]:
    """The expected state of each session after all clicks below `end`."""
    return [state(session + (end - 1 - session) // sessions * sessions) for session in range(sessions)]


async def test_an_empty_disk_and_one_that_is_behind_come_to_the_end(worker: Worker, kafka_settings: Settings) -> None:
    await produce(kafka_settings, 0, 0, CLICKS)
    await produce(kafka_settings, 1, 0, 800)
    await worker.recover()
    assert worker.states(0) == newest(CLICKS)
    assert worker.states(1) == newest(800)
    assert worker.states(2) == [None] * 700
    await asyncio.gather(produce(kafka_settings, 0, CLICKS, CLICKS + 700), produce(kafka_settings, 2, 0, 700))
    await worker.recover()
    assert worker.states(0) == newest(CLICKS + 700)
    assert worker.states(1) == newest(800)
    assert worker.states(2) == newest(700)
    assert worker.table.persisted_offset(worker.changelogs[0]) == CLICKS + 700 - 1


async def test_a_state_that_saw_more_clicks_is_not_overwritten_by_a_late_one(
    worker: Worker, kafka_settings: Settings
) -> None:
    await produce(kafka_settings, 0, 0, 1400)
    await produce(kafka_settings, 0, 700, 900)  # late states of a worker that had lost its partitions
    await worker.recover()
    assert worker.states(0) == newest(1400)


def in_log(number: int, offset: int) -> bytes:
    """A session's state that names the click log which its offset counts in."""
    return pack(SessionState(0, offset, 0, 0, [number], ModelState(None, b"", [], ""), log="a-log"))


async def last_states(settings: Settings, partition: int) -> dict[bytes | None, bytes | None]:
    """The last record of each session in the changelog."""
    async with AIOKafkaConsumer(bootstrap_servers=settings.brokers) as consumer:
        place = TopicPartition(settings.changelog_topic, partition)
        consumer.assign([place])
        await consumer.seek_to_beginning(place)
        end, found = (await consumer.end_offsets([place]))[place], {}
        while await consumer.position(place) < end:
            for record in (await consumer.getmany(timeout_ms=500)).get(place, []):
                found[record.key] = record.value
        return found


async def test_states_whose_changelog_was_replaced_are_merged_with_it_and_written_to_it(
    worker: Worker, kafka_settings: Settings
) -> None:
    worker.answered = {0: 100}
    mine = {b"ahead": in_log(1, 9), b"behind": in_log(2, 3), b"only here": in_log(3, 4)}
    worker.table.data.write(0, [(key, value, None) for key, value in mine.items()], 10_000)
    theirs = {b"ahead": in_log(4, 8), b"behind": in_log(5, 6), b"only there": in_log(6, 1)}
    async with AIOKafkaProducer(bootstrap_servers=kafka_settings.brokers) as producer:
        for key, value in theirs.items():
            await producer.send(kafka_settings.changelog_topic, value, key=key, partition=0)
    await worker.recover()
    expected = {**theirs, **mine, b"behind": theirs[b"behind"]}
    assert await last_states(kafka_settings, 0) == expected
    assert dict(zip(expected, worker.table.data.read(0, list(expected)), strict=True)) == expected
    end = worker.table.persisted_offset(worker.changelogs[0])
    await worker.recover()
    assert worker.table.persisted_offset(worker.changelogs[0]) == end


async def test_a_changelog_created_again_is_known_by_its_id_when_it_is_longer(
    worker: Worker, kafka_settings: Settings
) -> None:
    worker.answered = {0: 100}
    worker.table.data.write(0, [(b"only here", in_log(3, 4), None)], 5)
    worker.table.data.set_changelog_id(0, "another topic")
    await produce(kafka_settings, 0, 0, 700)
    await worker.recover()
    assert (await last_states(kafka_settings, 0))[b"only here"] == in_log(3, 4)
    assert worker.states(0) == newest(700)


async def test_writing_again_goes_on_after_a_crash(worker: Worker, kafka_settings: Settings) -> None:
    worker.answered = {0: 100}
    worker.table.data.write(0, [(b"only here", in_log(3, 4), None)], 1000)
    assert not worker.table.data.write(0, [(b"new", in_log(5, 6), None)], 0)  # at an offset that it was at before
    await produce(kafka_settings, 0, 0, 700)  # now the changelog ends behind what the disk knows
    await worker.recover()
    assert {b"only here", b"new"} <= (await last_states(kafka_settings, 0)).keys()


async def test_states_that_name_no_click_log_are_dropped_with_their_changelog(
    worker: Worker, kafka_settings: Settings
) -> None:
    worker.answered = {0: 100}
    worker.table.data.write(0, [(b"s5", state(5), None), (b"gone", state(9), None)], 10_000)
    await produce(kafka_settings, 0, 0, 700)
    await worker.recover()
    assert worker.states(0) == newest(700)
    assert worker.table.data.read(0, [b"gone"]) == [None]


async def test_states_of_another_consumer_group_are_not_used(worker: Worker, kafka_settings: Settings) -> None:
    worker.table.data.write(0, [(b"s5", in_log(5, 5), None), (b"gone", in_log(9, 9), None)], 10_000)
    await produce(kafka_settings, 0, 0, 700)
    await worker.recover()
    assert worker.states(0) == newest(700)
    assert worker.table.data.read(0, [b"gone"]) == [None]


async def test_damage_that_a_recovery_meets_is_repaired_by_it(worker: Worker, kafka_settings: Settings) -> None:
    await produce(kafka_settings, 0, 0, 1400)
    await worker.recover()
    path = Path(worker.table.data.partition_path(0))
    worker.close()
    gc.collect()
    for part in (1, 2, 3):
        flip_a_bit(next(path.glob("*.sst")), lambda size, part=part: size * part // 4)  # type: ignore[misc]
    await produce(kafka_settings, 0, 1400, 2100)
    worker.app._changelog_producer = AIOKafkaProducer(bootstrap_servers=kafka_settings.brokers)
    async with worker.app._changelog_producer:
        await worker.recovery._recover(worker.changelogs)
    assert worker.states(0) == newest(2100)
