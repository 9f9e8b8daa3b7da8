"""Errors of Kafka: which pass by themselves, and what the one line says about those that stay."""

from typing import Any

import pytest
from aiokafka import TopicPartition, errors
from aiokafka.consumer.fetcher import READ_COMMITTED, PartitionRecords
from aiokafka.record import MemoryRecords
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from messaging.clients import broker_error, kafka_errors
from messaging.failures import passes, unreadable_batch
from schemas.errors import BrokerError
from schemas.settings import Settings

SETTINGS = Settings(_env_file=None)


@pytest.mark.parametrize(
    "error",
    [
        errors.KafkaConnectionError("refused"),
        errors.KafkaTimeoutError(),
        errors.NotLeaderForPartitionError(),
        errors.UnknownTopicOrPartitionError(),
        errors.NotEnoughReplicasError(),
        errors.CommitFailedError("rebalanced"),
        errors.for_code(75)(),  # UNKNOWN_LEADER_EPOCH, which aiokafka has no class for
        TimeoutError(),
        ConnectionResetError(),
    ],
)
def test_what_may_pass_is_tried_again(error: Exception) -> None:
    assert passes(error)


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (errors.TopicAuthorizationFailedError("clicks"), "grant this client the topic"),
        (errors.GroupAuthorizationFailedError("nextclick"), "grant this client the consumer group"),
        (errors.MessageSizeTooLargeError(), "raise the topic's max.message.bytes"),
        (errors.InvalidSessionTimeoutError(), "set NEXTCLICK_GROUP_TIMEOUT to a time between"),
        (errors.InconsistentGroupProtocolError(), "choose another NEXTCLICK_APP_ID"),
        (errors.KafkaError("something new"), "look at the broker's log"),
    ],
)
def test_what_stays_is_one_line_that_says_what_to_do(error: Exception, advice: str) -> None:
    assert not passes(error)
    line = str(broker_error(error, SETTINGS, "answers are not written"))
    assert line.startswith(f"answers are not written: Kafka at {SETTINGS.broker} failed: ")
    assert type(error).__name__ in line
    assert advice in line
    assert "\n" not in line


def records(first: int, batch: bytes) -> PartitionRecords:
    return PartitionRecords(
        TopicPartition("clicks", 3), MemoryRecords(batch), [], first, None, None, True, READ_COMMITTED
    )


def batch_of(values: list[bytes], codec: int = 0) -> bytearray:
    builder: Any = DefaultRecordBatchBuilder(2, codec, 0, -1, -1, 0, 1 << 20)
    for place, value in enumerate(values):
        assert builder.append(place, None, b"key", value, []) is not None
    return bytearray(builder.build())


@pytest.mark.parametrize("codec", [0, 1, 2, 3, 4], ids=["none", "gzip", "snappy", "lz4", "zstd"])
def test_every_codec_of_kafka_is_read(codec: int) -> None:
    batch = batch_of([b"click" * 20, b"another"], codec)
    assert [record.value for record in records(0, bytes(batch))] == [b"click" * 20, b"another"]


def test_a_batch_that_cannot_be_read_is_named() -> None:
    broken = batch_of([b"click"])
    broken[-1] ^= 1  # the checksum does not fit any more
    with pytest.raises(BrokerError) as caught, kafka_errors(SETTINGS):
        list(records(0, bytes(batch_of([b"good"]) + broken)))
    line = str(caught.value)
    assert line.startswith("topic 'clicks', partition 3: the batch at offset 1 cannot be read (CorruptRecordException")
    assert "kafka-delete-records" in line


def test_a_batch_that_cannot_be_read_does_not_pass() -> None:
    broken = batch_of([b"click"])
    broken[-1] ^= 1
    with pytest.raises(errors.CorruptRecordException) as caught:
        list(records(0, bytes(broken)))
    assert not passes(caught.value)
    assert passes(errors.CorruptRecordException())  # from the broker, which found it in a request


def test_an_unknown_codec_is_named() -> None:
    batch = batch_of([b"click"])
    batch[22] |= 5  # the low bits of the attributes name the codec
    with pytest.raises(errors.UnsupportedCodecError) as caught:
        list(PartitionRecords(TopicPartition("clicks", 0), MemoryRecords(bytes(batch)), [], 0, None, None, False, 0))
    found = unreadable_batch(caught.value)
    assert found is not None
    assert (found.topic, found.partition, found.offset) == ("clicks", 0, 0)
    assert "install the codec" in str(broker_error(caught.value, SETTINGS))


def test_an_error_elsewhere_names_no_batch() -> None:
    with pytest.raises(ZeroDivisionError) as caught, kafka_errors(SETTINGS):
        _ = 1 / 0
    assert unreadable_batch(caught.value) is None
