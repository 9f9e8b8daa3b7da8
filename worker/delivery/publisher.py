"""Produces records in bulk: one batch per partition, complete when the broker has acknowledged it."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

log = logging.getLogger(__name__)

RETRY_PAUSE = 0.5
"""Seconds before records that the broker did not accept are produced again."""


Headers = Sequence[tuple[str, bytes | None]]
"""A message's headers, in order; a name may occur more than once."""

OutgoingRecord = tuple[bytes | None, bytes | None, Headers | None]
"""One message to produce: key, value, headers. A plain tuple for speed: one is made per click and per state."""


class Publisher:
    """Produces with one aiokafka batch per partition and call: a record costs 1–2 µs instead of 20 with `send`."""

    def __init__(self, producer: Callable[[], AIOKafkaProducer]) -> None:
        self._producer = producer

    async def publish(
        self, topic: str, records: Mapping[int, Sequence[OutgoingRecord]], may_go_on: Callable[[], bool]
    ) -> dict[int, int] | None:
        """Produce records, in order within each partition, and wait until all are acknowledged.

        Records that the broker does not accept are tried again without limit, so that no click is lost. This may
        produce an answer twice.

        Args:
            topic: the topic to produce to.
            records: partition → its records.
            may_go_on: called before every try; if it returns False, nothing more is produced.

        Returns:
            partition → offset of its last record; None if `may_go_on` returned False.
        """
        last: dict[int, int] = {}
        remaining = {partition: list(batch) for partition, batch in records.items() if batch}
        while remaining:
            if not may_go_on():
                return None
            partitions = list(remaining)
            results = await asyncio.gather(
                *(self._publish_partition(topic, partition, remaining[partition]) for partition in partitions),
                return_exceptions=True,
            )
            for partition, result in zip(partitions, results, strict=True):
                if isinstance(result, int):
                    last[partition] = result
                    del remaining[partition]
                elif not isinstance(result, KafkaError | asyncio.TimeoutError):
                    raise result
                else:
                    log.warning("%s %d: not produced, trying again: %r", topic, partition, result)
            if remaining:
                await asyncio.sleep(RETRY_PAUSE)
        return last

    async def _publish_partition(self, topic: str, partition: int, records: Sequence[OutgoingRecord]) -> int:
        producer = self._producer()
        sent: list[tuple[int, Any]] = []
        batch = producer.create_batch()
        count = 0
        for key, value, headers in records:
            if batch.append(timestamp=None, key=key, value=value, headers=headers) is None:
                sent.append((count, await producer.send_batch(batch, topic, partition=partition)))
                batch, count = producer.create_batch(), 0
                batch.append(timestamp=None, key=key, value=value, headers=headers)
            count += 1
        sent.append((count, await producer.send_batch(batch, topic, partition=partition)))
        results = await asyncio.gather(*(future for _, future in sent))
        return int(results[-1].offset) + sent[-1][0] - 1
