"""What `nextclick rekey` says while no broker answers."""

import asyncio
import logging

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError

from nextclick import rekey
from schemas.settings import Settings

FAILURES = 20


class Consumer:
    """aiokafka's consumer, started with success after some failures; it is given no partition."""

    starts = 0

    async def beginning_offsets(self, _: list[TopicPartition]) -> dict[TopicPartition, int]:
        return {}

    end_offsets = beginning_offsets

    def subscribe(self, _: list[str], listener: rekey._Listener) -> None:
        self.joined = asyncio.create_task(listener.on_partitions_assigned(set()))

    async def getmany(self, **_: int) -> dict[TopicPartition, list[rekey.Record]]:
        await self.joined
        await asyncio.sleep(0.01)
        return {}


async def test_an_outage_is_two_lines(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    consumer, stopped = Consumer(), asyncio.Event()

    async def start(_client: Consumer, _settings: Settings) -> None:
        consumer.starts += 1
        if consumer.starts <= FAILURES:
            raise KafkaConnectionError("nobody there")
        asyncio.get_running_loop().call_later(0.1, stopped.set)

    async def stop(_client: Consumer) -> None:
        """Nothing is open."""

    async def check(_rekeyer: rekey.Rekeyer) -> dict[TopicPartition, int]:
        return {}

    monkeypatch.setattr(rekey, "new_consumer", lambda *_, **__: consumer)
    monkeypatch.setattr(rekey, "start", start)
    monkeypatch.setattr(rekey, "stop", stop)
    monkeypatch.setattr(rekey.Rekeyer, "_check", check)
    monkeypatch.setattr(rekey, "RETRY_SECONDS", 0)
    with caplog.at_level(logging.WARNING):
        await rekey.Rekeyer(Settings(_env_file=None), "page-views", lambda _line, **_fields: None).run(stopped)
    begin, end = (record.getMessage() for record in caplog.records)
    assert begin.startswith("trouble with Kafka: begins again where the last transaction ended: ")
    assert end.startswith(f"Kafka works again: the trouble lasted 0 s, with {FAILURES} failures")
