"""What messages become when they get their session as key: clicks, and refused ones, by partition."""

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from aiokafka import ConsumerRecord
from aiokafka.partitioner import DefaultPartitioner
from typing_extensions import override

from messaging.contracts import TopicContract
from nextclick.rekey_topics import largest_message, takes_time
from schemas.click import NO_RECORD_TIME, InvalidClickError
from schemas.click_decoder import session_reader
from schemas.click_times import RECORD
from schemas.settings import Settings
from worker.delivery.publisher import OutgoingRecord
from worker.delivery.records import RecordBatch
from worker.rejects import reject_copy, smaller_copy

Record: TypeAlias = "ConsumerRecord[bytes, bytes]"

RECORD_OVERHEAD = 200
"""Bytes of a batch with one record beside its key, value and headers, at most."""

Timed = tuple[int, OutgoingRecord]
"""A message and its time, ms since 1970 UTC; `NO_RECORD_TIME`: the time of sending."""


@dataclass
class RekeyedBatch:
    """Messages with their new keys.

    Attributes:
        clicks: partition of the clicks topic → its messages.
        rejected: partition of the rejected topic → copies of messages without a readable session id.
        passed_over: messages that are no clicks by NEXTCLICK_CLICK_WHERE.
    """

    clicks: dict[int, list[Timed]] = field(default_factory=lambda: defaultdict(list))
    rejected: dict[int, list[Timed]] = field(default_factory=lambda: defaultdict(list))
    passed_over: int = 0


@dataclass
class Rekeyed:
    """How many messages were copied, rejected and passed over so far, by this process."""

    written: int = 0
    rejected: int = 0
    passed_over: int = 0

    def add(self, batch: RekeyedBatch) -> None:
        """Count a batch whose transaction is committed."""
        self.written += sum(map(len, batch.clicks.values()))
        self.rejected += sum(map(len, batch.rejected.values()))
        self.passed_over += batch.passed_over

    @override
    def __str__(self) -> str:
        passed_over = f", passed over {self.passed_over:,} that are no clicks" if self.passed_over else ""
        return f"{self.written:,} messages, rejected {self.rejected:,} without a session id{passed_over}"


class BatchRekeyer:
    """Gives messages their session as key.

    Args:
        settings: the form of the messages.
        clicks: the clicks topic, as it exists.
        rejected: the rejected topic, as it exists.
    """

    def __init__(self, settings: Settings, clicks: TopicContract, rejected: TopicContract) -> None:
        self._clicks, self._rejected = clicks, rejected
        self._session_key = session_reader(settings)
        self._needs_time = settings.click_time == RECORD
        self._numbers = list(range(clicks.partitions))
        self._partition_of = DefaultPartitioner()  # Kafka's: murmur2 of the key

    def rekey(self, records: Sequence[Record]) -> RekeyedBatch:
        """The messages by partition, in their order.

        Value, headers and time are as received. A message whose time the topic refuses gets the time of sending, or is
        rejected if its time is the time of the click.
        """
        batch, now = RekeyedBatch(), round(time.time() * 1000)
        for record in records:
            try:
                key = self._session_key(record.value)
                if key is None:
                    batch.passed_over += 1
                    continue
                copy: OutgoingRecord = (key, record.value, list(record.headers))
                self._check_size(copy)
                moment = self._time_of(record, now)
            except InvalidClickError as error:
                number = record.partition % self._rejected.partitions
                moment = record.timestamp if takes_time(self._rejected, record.timestamp, now) else NO_RECORD_TIME
                batch.rejected[number].append((moment, self._reject(record, str(error))))
                continue
            number = self._partition_of(key, self._numbers, self._numbers)
            batch.clicks[number].append((moment, copy))
        return batch

    def _check_size(self, copy: OutgoingRecord) -> None:
        size, most = _size(copy), largest_message(self._clicks)
        if size > most:
            raise InvalidClickError(
                f"the message of {size} bytes is larger than topic {self._clicks.name!r} takes ({most} bytes, its "
                "max.message.bytes)"
            )

    def _time_of(self, record: Record, now: int) -> int:
        timestamp: int = record.timestamp
        if takes_time(self._clicks, timestamp, now):
            return timestamp
        if self._needs_time:
            raise InvalidClickError(
                f"timestamp {timestamp}, Kafka's time of the message, is one that topic {self._clicks.name!r} "
                "does not take (its message.timestamp.before.max.ms and after.max.ms)"
            )
        return NO_RECORD_TIME

    def _reject(self, record: Record, reason: str) -> OutgoingRecord:
        source = RecordBatch(record.topic, record.partition, 0, [record])
        copy = reject_copy(source, record, reason)
        while _size(copy) > largest_message(self._rejected) and (smaller := smaller_copy(copy)) is not None:
            copy = smaller
        return copy


def _size(copy: OutgoingRecord) -> int:
    key, value, headers = copy
    in_headers = sum(len(name.encode()) + len(content or b"") + 4 for name, content in headers or ())
    return RECORD_OVERHEAD + len(key or b"") + len(value or b"") + in_headers
