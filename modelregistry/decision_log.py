"""Decisions on the models topic: each under a key of its own, so that compaction keeps the whole story."""

from aiokafka import AIOKafkaProducer
from pydantic import ValidationError

from messaging.clients import connected
from modelregistry.publishing import models_messages
from schemas.decision import DECISION, Decision
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
    prefix = f"{settings.model_name}{DECISION}".encode()
    found: dict[bytes, Decision] = {}
    for key, value in await models_messages(settings):
        if key.startswith(prefix) and value is not None:
            try:
                found[key] = Decision.model_validate_json(value)
            except ValidationError:
                continue
    return sorted(found.values(), key=lambda decision: decision.decided_at)
