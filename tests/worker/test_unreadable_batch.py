"""A batch that cannot be read ends the worker, and costs no click of other batches, on a real Kafka."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import RecordsToDelete

from clicklog.archive.archiver import Archived, Archiver
from messaging.clients import admin
from messaging.contracts import topic_contracts
from messaging.topics import create_topics
from nextclick.broker import LocalBroker
from schemas.errors import BrokerError
from schemas.settings import Settings
from tests.worker.deployment import Deployment

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.xdist_group("incidents")]

BAD = 1
"""The partition whose last batch is damaged."""

MESSAGE = f"topic 'clicks', partition {BAD}: the batch at offset 19 cannot be read"


async def fill(settings: Settings) -> None:
    """Twenty clicks in each partition, each in a batch of its own."""
    async with admin(settings) as client:
        await create_topics(client, topic_contracts(settings))
    async with AIOKafkaProducer(bootstrap_servers=settings.brokers) as producer:
        for number in range(20):
            for partition in range(settings.partitions):
                session = f"p{partition}-{number}"
                value = f'{{"session_id": "{session}", "item_id": 1, "timestamp": 1700000000000}}'.encode()
                await producer.send_and_wait(settings.clicks_topic, value, session.encode(), partition)


def damage(data: Path, topic: str) -> None:
    """Change a byte of the last message."""
    (segment,) = data.rglob(f"{topic}-{BAD}/*.log")
    content = bytearray(segment.read_bytes())
    content[-5] ^= 1
    segment.write_bytes(content)


async def skip(settings: Settings) -> None:
    """Do what the error advises."""
    async with admin(settings) as client:
        place = TopicPartition(settings.clicks_topic, BAD)
        await client.delete_records({place: RecordsToDelete(before_offset=20)})


@pytest.fixture
def damaged(tmp_path: Path) -> Iterator[Deployment]:
    """A clicks topic with a batch that cannot be read, at offset 19 of a partition."""
    with LocalBroker(data=tmp_path / "kafka") as broker:
        settings = Settings(
            _env_file=None,
            broker=broker.address,
            partitions=8,
            models_uri=str(tmp_path / "models"),
            archive_uri=str(tmp_path / "archive"),
            group_timeout="6s",
        )
        asyncio.run(fill(settings))
        broker.stop()
        damage(tmp_path / "kafka", settings.clicks_topic)
        broker.start()
        deployment = Deployment(settings, tmp_path)
        yield deployment
        deployment.close()


def test_clicks_of_the_same_fetch_are_answered(damaged: Deployment) -> None:
    worker = damaged.start()
    damaged.wait_until(lambda: not worker.alive, "the end")
    assert worker.process.returncode == 1
    assert MESSAGE in worker.said.splitlines()[-1]
    asyncio.run(skip(damaged.settings))
    damaged.start("w2")
    damaged.wait_for_answers(159)
    answers = damaged.read(damaged.settings.recommendations_topic)
    assert len({answer.json["session_id"] for answer in answers}) == 159


def test_clicks_of_the_same_fetch_are_archived_before_the_advice_deletes_them(damaged: Deployment) -> None:
    def archived() -> Archived:
        archiver = Archiver(damaged.settings)
        try:
            asyncio.run(archiver.run(asyncio.Event(), once=True))
        finally:
            done.append(archiver.done.clicks)
        return archiver.done

    done: list[int] = []
    with pytest.raises(BrokerError, match=MESSAGE):
        archived()
    asyncio.run(skip(damaged.settings))
    archived()
    assert sum(done) == 159
