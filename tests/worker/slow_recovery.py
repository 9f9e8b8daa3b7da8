"""A worker that reads the changelog a few records at a time, and says so."""

import asyncio
import logging
from typing import Any

from aiokafka import AIOKafkaConsumer

from worker.delivery import recovery
from worker.service import create_app

log = logging.getLogger("worker.test")


class SlowConsumer(AIOKafkaConsumer):
    async def getmany(self, *partitions: Any, **options: Any) -> Any:
        log.info("slow fetch")
        await asyncio.sleep(0.3)
        return await super().getmany(*partitions, **options, max_records=50)


recovery.AIOKafkaConsumer = SlowConsumer  # type: ignore[misc]
app = create_app()
