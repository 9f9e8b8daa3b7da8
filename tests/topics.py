"""Topics that are configured otherwise than new ones, or that are deleted."""

import asyncio
from dataclasses import replace

from messaging.clients import admin
from messaging.contracts import topic_contracts
from messaging.topics import create_topics, existing_topics
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


async def create_uncompacted(settings: Settings) -> None:
    """Create the topics of the settings, and let Kafka delete old records of those that must be compacted."""
    contracts = topic_contracts(settings)
    async with admin(settings) as client:
        await create_topics(
            client, [replace(each, config=each.config | {"cleanup.policy": "delete"}) for each in contracts]
        )


async def delete_topic(settings: Settings, topic: str) -> None:
    """Delete a topic, and wait until it has gone."""
    async with admin(settings) as client:
        await client.delete_topics([topic])
        while await existing_topics(client, [topic]):
            await asyncio.sleep(0.1)


async def create_again(settings: Settings, topic: str) -> None:
    """Delete a topic, then create the topics of the settings that are missing."""
    await delete_topic(settings, topic)
    await create_with_brokers_times(settings)
