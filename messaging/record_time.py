"""When the broker took in a record.

A record has one time. On a topic with `message.timestamp.type=LogAppendTime` the broker sets it. With `CreateTime`,
Kafka's default, the producer sets it: Connect, Flink and Kafka Streams copy the time of the event, which may be a year
old.
"""

from aiokafka import ConsumerRecord

LOG_APPEND_TIME = 1
"""`ConsumerRecord.timestamp_type` of a time that the broker set."""


def taken_in(record: "ConsumerRecord[bytes, bytes]", now: int) -> int:
    """When the broker took in a record, ms since 1970 UTC; `now` if only its producer's time is known."""
    return int(record.timestamp) if record.timestamp_type == LOG_APPEND_TIME else now
