"""A worker that reads the changelog a few records at a time, and says so."""

import asyncio
import logging
from typing import Any

from aiokafka import AIOKafkaConsumer

from messaging.clients import new_consumer
from worker.delivery import recovery
from worker.service import create_app

log = logging.getLogger("worker.test")


def slow_consumer(*arguments: Any, **options: Any) -> AIOKafkaConsumer:
    consumer = new_consumer(*arguments, **options)
    getmany = consumer.getmany

    async def slowly(*partitions: Any, **options: Any) -> Any:
        log.info("slow fetch")
        await asyncio.sleep(0.3)
        return await getmany(*partitions, **options, max_records=50)

    consumer.getmany = slowly
    return consumer


recovery.new_consumer = slow_consumer  # type: ignore[attr-defined]
app = create_app()
