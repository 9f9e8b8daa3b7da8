"""Topics whose configuration is not that of new ones."""

from dataclasses import replace

from messaging.clients import admin
from messaging.contracts import topic_contracts
from messaging.topics import create_topics
from schemas.settings import Settings


async def create_with_brokers_times(settings: Settings) -> None:
    """Create the topics of the settings as `nextclick topics` does."""
    async with admin(settings) as client:
        await create_topics(client, topic_contracts(settings))


async def create_with_producers_times(settings: Settings) -> None:
    """Create the topics of the settings as Kafka does by default: producers set the times of their records."""
    times = {"message.timestamp.type": "CreateTime"}
    async with admin(settings) as client:
        await create_topics(client, [replace(contract, advised=times) for contract in topic_contracts(settings)])
