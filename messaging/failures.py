"""Kafka's errors told apart: those that pass by themselves, and those that stay until somebody acts.

A program that tries again asks `passes(error)` first. An error that stays ends the program with one line; `way_out` is
the part of it that says what to do.
"""

import traceback
from dataclasses import dataclass

from aiokafka import errors
from aiokafka.consumer.fetcher import PartitionRecords
from aiokafka.errors import KafkaError

from schemas.errors import one_line

_PASSING = (
    errors.KafkaConnectionError,
    errors.KafkaTimeoutError,
    errors.KafkaUnavailableError,
    errors.BrokerNotAvailableError,
    errors.ReplicaNotAvailableError,
    errors.StaleControllerEpochError,
    errors.StaleLeaderEpochCodeError,
    errors.CorruptRecordException,
    errors.ConcurrentTransactions,
    errors.ReassignmentInProgress,
    errors.CommitFailedError,
    errors.RebalanceInProgressError,
    errors.IllegalGenerationError,
    errors.UnknownMemberIdError,
    errors.IllegalStateError,
    errors.ProducerClosed,
    errors.UnknownError,
)
"""Not marked as retriable by aiokafka, and yet over after a while: the broker's state, a rebalance, a closed client.
UnknownError is also what aiokafka makes of the error codes that it does not know, such as those of a new leader."""

_GRANT = "grant this client {} (`kafka-acls --add`, or the tool of your cluster), then start it again"
_CREDENTIALS = "check the user, the password and the SASL mechanism that this client uses"

_WAYS_OUT: dict[type[KafkaError], str] = {
    errors.TopicAuthorizationFailedError: _GRANT.format("the topic"),
    errors.GroupAuthorizationFailedError: _GRANT.format("the consumer group"),
    errors.ClusterAuthorizationFailedError: _GRANT.format("access to the cluster"),
    errors.TransactionalIdAuthorizationFailed: _GRANT.format("the transactional id"),
    errors.AuthenticationFailedError: _CREDENTIALS,
    errors.SaslAuthenticationFailed: _CREDENTIALS,
    errors.UnsupportedSaslMechanismError: _CREDENTIALS,
    errors.MessageSizeTooLargeError: "raise the topic's max.message.bytes",
    errors.RecordListTooLargeError: "raise the topic's segment.bytes",
    errors.InvalidTopicError: "name another topic by NEXTCLICK_…_TOPIC",
    errors.UnknownTopicOrPartitionError: "`nextclick topics` creates what is missing and says what differs",
    errors.InvalidTimestampError: (
        "check the clock of this machine; else raise the topic's message.timestamp.before.max.ms and "
        "message.timestamp.after.max.ms"
    ),
    errors.PolicyViolationError: "ask whoever runs the cluster: a policy of its own refused the request",
    errors.InvalidSessionTimeoutError: (
        "set NEXTCLICK_GROUP_TIMEOUT to a time between the broker's group.min.session.timeout.ms and "
        "group.max.session.timeout.ms"
    ),
    errors.InconsistentGroupProtocolError: (
        "the consumer group of this name belongs to another program: choose another NEXTCLICK_APP_ID"
    ),
    errors.InvalidGroupIdError: "choose another NEXTCLICK_APP_ID",
    errors.UnsupportedVersionError: "use Apache Kafka 2.1 or newer",
    errors.IncompatibleBrokerVersion: "use Apache Kafka 2.1 or newer",
    errors.UnsupportedCodecError: "install the codec (`pip install cramjam`)",
}


class TokenError(errors.KafkaConnectionError):
    """No token for OAUTHBEARER could be had. Passes by itself while a program runs; ends a start with one line."""


REFUSALS = (
    errors.ClusterAuthorizationFailedError,
    errors.GroupAuthorizationFailedError,
    errors.SaslAuthenticationFailed,
    errors.TopicAuthorizationFailedError,
    errors.TransactionalIdAuthorizationFailed,
)
"""Kafka answers, and does not let this client do what it asks for."""


def passes(error: BaseException) -> bool:
    """Whether it is worth trying again: the error may be over by itself."""
    if unreadable_batch(error) is not None:
        return False
    if isinstance(error, KafkaError):
        return bool(error.retriable) or isinstance(error, _PASSING)
    return isinstance(error, OSError | TimeoutError)


def kafka_reason(error: BaseException) -> str:
    """A Kafka error in one line, with the name of its class if the text lacks it."""
    text = str(error).strip()
    name = type(error).__name__
    return text if name in text else f"{name}: {text}" if text else name


def way_out(error: BaseException) -> str:
    """What an operator does about an error that does not pass, as the end of a sentence."""
    for kind, advice in _WAYS_OUT.items():
        if isinstance(error, kind):
            return advice
    return "look at the broker's log for the reason, then start this program again"


@dataclass(frozen=True)
class UnreadableBatch:
    """A batch of a topic whose bytes cannot be turned into messages: its checksum or its compression is wrong.

    Attributes:
        topic, partition: where it is.
        offset: the first offset that could not be read.
        reason: the error.
    """

    topic: str
    partition: int
    offset: int
    reason: str

    def __str__(self) -> str:
        return (
            f"topic {self.topic!r}, partition {self.partition}: the batch at offset {self.offset} cannot be read "
            f"({self.reason})"
        )


def unreadable_batch(error: BaseException) -> UnreadableBatch | None:
    """The batch at which reading failed with this error; None if the error has another cause.

    aiokafka's errors do not name the batch, so it is taken from the frame that was reading it.
    """
    for frame, _ in traceback.walk_tb(error.__traceback__):
        reader = frame.f_locals.get("self")
        if isinstance(reader, PartitionRecords):
            reason = f"{type(error).__name__}: {one_line(error)}"
            return UnreadableBatch(reader._tp.topic, reader._tp.partition, reader.next_fetch_offset, reason)
    return None


def skip_advice(batch: UnreadableBatch, error: BaseException) -> str:
    """What to do about a batch that cannot be read."""
    if isinstance(error, errors.UnsupportedCodecError):
        return way_out(error)
    return (
        "if another consumer cannot read it either, its messages are lost: delete the log up to the offset after it "
        f"(`kafka-dump-log` shows it; `kafka-delete-records` with topic {batch.topic}, partition {batch.partition}), "
        "then start this program again"
    )
