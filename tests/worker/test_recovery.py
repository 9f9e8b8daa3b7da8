"""Recovery: RocksDB catches up with the changelog from any earlier point."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from faust.types import TP

from schemas.settings import Settings
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
        self.recovery.tp_to_table = dict.fromkeys(self.changelogs, self.table)

    async def recover(self) -> None:
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


async def test_states_of_a_log_that_was_replaced_are_not_kept(worker: Worker, kafka_settings: Settings) -> None:
    worker.table.data.write(0, [(b"s5", state(5), None), (b"gone", state(9), None)], 10_000)
    await produce(kafka_settings, 0, 0, 700)
    await worker.recover()
    assert worker.states(0) == newest(700)
    assert worker.table.data.read(0, [b"gone"]) == [None]
