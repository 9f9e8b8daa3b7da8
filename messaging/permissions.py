"""What the broker allows this client to do with topics, consumer groups and the cluster.

Kafka tells it in the answers to requests that change nothing. aiokafka 0.14 asks for older versions of these requests,
which do not tell it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError, NodeNotReadyError, for_code
from aiokafka.protocol.admin import DescribeGroupsRequest_v3, DescribeGroupsResponse_v3
from aiokafka.protocol.api import Request, RequestStruct

from messaging.topic_identity import UNKNOWN, MetadataRequest10

OPERATIONS = {
    "Read": 3, "Write": 4, "Create": 5, "Delete": 6, "Alter": 7, "Describe": 8, "ClusterAction": 9,
    "DescribeConfigs": 10, "AlterConfigs": 11, "IdempotentWrite": 12,
}  # fmt: skip
"""Kafka's operations by name, with the bit of each in `authorized_operations`."""

NOT_TOLD = -(2**31)


@dataclass(frozen=True)
class Allowed:
    """What a client may do with one resource.

    Attributes:
        operations: names, as in `OPERATIONS`; None if the broker does not tell.
        error: why the broker tells nothing about it, such as UnknownTopicOrPartitionError; None without an error.
    """

    operations: frozenset[str] | None
    error: type[KafkaError] | None = None


async def allowed_on_topics(client: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, Allowed]:
    """What this client may do with each topic. No topic is created.

    Raises:
        NotImplementedError: the broker is older than Kafka 2.8.
        KafkaError: the broker does not answer.
    """
    response = await _send(client, _TopicsWithOperations(names))
    found = {topic[1]: (for_code(topic[0]) if topic[0] else None, topic[5]) for topic in response.topics}
    return {name: _allowed(operations, error) for name, (error, operations) in found.items()}


async def allowed_on_cluster(client: AIOKafkaAdminClient) -> Allowed:
    """What this client may do with the cluster.

    Raises: as `allowed_on_topics`.
    """
    response = await _send(client, _TopicsWithOperations([]))
    return _allowed(response.authorized_operations, None)


async def allowed_on_group(client: AIOKafkaAdminClient, group: str) -> Allowed:
    """What this client may do with a consumer group, which need not exist.

    Raises: as `allowed_on_topics`.
    """
    try:
        coordinator = await client.find_coordinator(group)
    except KafkaError as error:
        return Allowed(None, type(error))
    response = await client._client.send(coordinator, _GroupWithOperations(group))
    ((code, *_, operations),) = response.groups
    return _allowed(operations, for_code(code) if code else None)


def missing(allowed: Allowed, needed: Iterable[str]) -> list[str]:
    """The needed operations that are not allowed, in the given order; empty if the broker does not tell."""
    if allowed.operations is None:
        return []
    return [operation for operation in needed if operation not in allowed.operations]


def _allowed(bits: int, error: type[KafkaError] | None) -> Allowed:
    if bits == NOT_TOLD:
        return Allowed(None, error)
    return Allowed(frozenset(name for name, bit in OPERATIONS.items() if bits >> bit & 1), error)


async def _send(client: AIOKafkaAdminClient, request: Request[Any]) -> Any:
    node = client._client.get_random_node()
    if node is None:
        raise NodeNotReadyError("no broker is known")
    return await client._client.send(node, request)


class _TopicsWithOperations(Request[MetadataRequest10]):
    API_KEY = 3

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names

    def build(self, request_struct_class: type[MetadataRequest10]) -> Any:
        return request_struct_class([(UNKNOWN, name, {}) for name in self._names], False, True, True, {})


class _DescribeGroups3(RequestStruct):  # aiokafka's own reads the answer as one of version 2
    API_KEY = 15
    API_VERSION = 3
    RESPONSE_TYPE = DescribeGroupsResponse_v3
    SCHEMA = DescribeGroupsRequest_v3.SCHEMA


class _GroupWithOperations(Request[_DescribeGroups3]):
    API_KEY = 15

    def __init__(self, group: str) -> None:
        self._group = group

    def build(self, request_struct_class: type[_DescribeGroups3]) -> Any:
        return request_struct_class([self._group], True)
