"""Which incarnation of a topic exists: its id, which Kafka gives anew whenever the topic is created.

aiokafka 0.14 asks for metadata up to version 5, and topic ids come with version 10 (Kafka 2.8 and later). So the
request and its response are written out here.
"""

import base64
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import NodeNotReadyError, UnknownTopicOrPartitionError, for_code
from aiokafka.protocol.abstract import AbstractType
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Boolean, CompactArray, CompactString, Int16, Int32, Schema, TaggedFields

from messaging.topics import partition_counts

UNKNOWN = bytes(16)
"""The id in the answer of a broker that has none."""


@dataclass(frozen=True)
class TopicIdentity:
    """One incarnation of a topic.

    Attributes:
        topic_id: as Kafka's tools print it, 22 characters; empty if the broker knows none (older than Kafka 2.8).
        cluster_id: of the cluster that the topic is on; empty if not known.
        partitions: how many it has now.
    """

    topic_id: str
    cluster_id: str
    partitions: int


async def topic_identity(consumer: AIOKafkaConsumer, topic: str) -> TopicIdentity | None:
    """The present incarnation of a topic; None if the topic does not exist. Never creates it.

    Args:
        consumer: started; needs no assignment.
        topic: name of the topic.

    Raises:
        KafkaError: the broker does not answer, or refuses.
    """
    client = consumer._client
    node = client.get_random_node()
    if node is None:
        raise NodeNotReadyError("no broker is known")
    try:
        response = await client.send(node, _MetadataById(topic))
    except NotImplementedError:  # the broker has no version 10 of this request
        count = (await partition_counts(consumer, [topic])).get(topic)
        return None if count is None else TopicIdentity("", "", count)
    ((code, _, topic_id, _, partitions, *_),) = response.topics
    error = for_code(code)
    if error is UnknownTopicOrPartitionError:
        return None
    if code:
        raise error(topic)
    printed = "" if topic_id == UNKNOWN else base64.urlsafe_b64encode(topic_id).decode().rstrip("=")
    return TopicIdentity(printed, response.cluster_id or "", len(partitions))


class _Uuid(AbstractType[bytes]):
    @classmethod
    def encode(cls, value: bytes) -> bytes:
        return value

    @classmethod
    def decode(cls, data: BytesIO) -> bytes:
        return data.read(16)


class _MetadataResponse10(Response):
    API_KEY = 3
    API_VERSION = 10
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32),
                ("host", CompactString()),
                ("port", Int32),
                ("rack", CompactString()),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_id", CompactString()),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("name", CompactString()),
                ("topic_id", _Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline_replicas", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("authorized_operations", Int32),
        ("tags", TaggedFields),
    )


class MetadataRequest10(RequestStruct):
    """The oldest request for metadata that asks for topic ids."""

    FLEXIBLE_VERSION = True
    API_KEY = 3
    API_VERSION = 10
    RESPONSE_TYPE = _MetadataResponse10
    SCHEMA = Schema(
        ("topics", CompactArray(("topic_id", _Uuid), ("name", CompactString()), ("tags", TaggedFields))),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class _MetadataById(Request[MetadataRequest10]):
    API_KEY = 3

    def __init__(self, topic: str) -> None:
        self._topic = topic

    def build(self, request_struct_class: type[MetadataRequest10]) -> Any:
        return request_struct_class([(UNKNOWN, self._topic, {})], False, False, False, {})
