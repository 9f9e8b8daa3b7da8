"""Waits for a contestant's answers by reading the end offsets of its recommendations topic."""

import asyncio
import time

from aiokafka import AIOKafkaConsumer, TopicPartition

from benchmarks.contestants import Contestant
from schemas.settings import Settings


def partitions_of(topic: str, settings: Settings) -> list[TopicPartition]:
    """All partitions of the clicks or recommendations topic."""
    return [TopicPartition(topic, number) for number in range(settings.partitions)]


async def wait_for_answers(
    consumer: AIOKafkaConsumer,
    settings: Settings,
    contestant: Contestant,
    at_least: int,
    seconds: float,
    poll_seconds: float,
) -> int:
    """Wait until the topic has the wanted number of recommendations; returns the number it then has.

    Raises:
        SystemExit: the contestant has ended, or did not answer within `seconds`.
    """
    partitions = partitions_of(settings.recommendations_topic, settings)
    deadline = time.monotonic() + seconds
    while (count := int(sum((await consumer.end_offsets(partitions)).values()))) < at_least:
        contestant.check()
        if time.monotonic() > deadline:
            raise contestant.failure(f"{count} answers after {seconds:g} s, expected {at_least}")
        await asyncio.sleep(poll_seconds)
    return count
