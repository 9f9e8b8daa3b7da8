"""Decisions on the models topic: each under a key of its own, so that compaction keeps the whole story."""

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from pydantic import ValidationError

from schemas.decision import DECISION, Decision
from schemas.kafka import check_topics, connected
from schemas.settings import Settings


async def record(decision: Decision, settings: Settings) -> None:
    """Put a decision on the models topic.

    Raises:
        BrokerError: no broker answers.
    """
    producer = AIOKafkaProducer(bootstrap_servers=settings.brokers, acks="all")
    async with connected(producer, settings):
        await producer.send_and_wait(
            settings.models_topic, decision.model_dump_json().encode(), key=decision.key, partition=0
        )


async def decisions(settings: Settings) -> list[Decision]:
    """Every decision about this model's name, oldest first; what is no decision is passed over.

    Raises:
        BrokerError, TopicError: there is nobody to ask.
    """
    await check_topics(settings, [settings.models_topic])
    partition = TopicPartition(settings.models_topic, 0)
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.brokers, enable_auto_commit=False)
    prefix = f"{settings.model_name}{DECISION}".encode()
    found: dict[bytes, Decision] = {}
    async with connected(consumer, settings):
        consumer.assign([partition])
        await consumer.seek_to_beginning(partition)
        end = (await consumer.end_offsets([partition]))[partition]
        while await consumer.position(partition) < end:
            records = await consumer.getmany(partition, timeout_ms=500)
            for message in records.get(partition, []):
                if message.key is not None and message.key.startswith(prefix) and message.value is not None:
                    try:
                        found[message.key] = Decision.model_validate_json(message.value)
                    except ValidationError:
                        continue
    return sorted(found.values(), key=lambda decision: decision.decided_at)
