"""The time of the cluster's controller, which it tells in its answer to a request that changes nothing.

The leader of the metadata quorum (KRaft, Kafka 3.3 and later) says of each voter when it had caught up last; of itself
it says its present time. aiokafka 0.14 has no such request, so it is written out here.
"""

import time
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import NodeNotReadyError, for_code
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import CompactArray, CompactString, Int16, Int32, Int64, Schema, TaggedFields

METADATA_TOPIC = "__cluster_metadata"


async def ahead_of_controller(client: AIOKafkaAdminClient) -> float | None:
    """By how many seconds this machine's clock is ahead of the controller's; negative: behind.

    The error is at most half the time that the request took.

    Returns:
        None if the cluster does not tell: it is older than Kafka 3.3, or it has no leader at this moment.

    Raises:
        KafkaError: the broker does not answer, or this client may not describe the cluster.
    """
    node = client._client.get_random_node()
    if node is None:
        raise NodeNotReadyError("no broker is known")
    began = time.time()
    try:
        response = await client._client.send(node, _DescribeQuorum())
    except NotImplementedError:
        return None
    except Exception as error:
        if "API version is unknown" in str(error):  # the broker lacks this request
            return None
        raise
    now = (began + time.time()) / 2
    if response.error_code:
        raise for_code(response.error_code)("the metadata quorum cannot be described")
    ((_, ((_, code, leader, _, _, voters, _, _),), _),) = response.topics
    stamped = [caught_up for replica, _, _, caught_up, _ in voters if replica == leader and caught_up > 0]
    return now - stamped[0] / 1000 if not code and stamped else None


_REPLICA = (
    ("replica_id", Int32),
    ("log_end_offset", Int64),
    ("last_fetch_timestamp", Int64),
    ("last_caught_up_timestamp", Int64),
    ("tags", TaggedFields),
)


class _DescribeQuorumResponse1(Response):
    API_KEY = 55
    API_VERSION = 1
    SCHEMA = Schema(
        ("error_code", Int16),
        (
            "topics",
            CompactArray(
                ("topic", CompactString()),
                (
                    "partitions",
                    CompactArray(
                        ("partition", Int32),
                        ("error_code", Int16),
                        ("leader_id", Int32),
                        ("leader_epoch", Int32),
                        ("high_watermark", Int64),
                        ("voters", CompactArray(*_REPLICA)),
                        ("observers", CompactArray(*_REPLICA)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _DescribeQuorumRequest1(RequestStruct):
    FLEXIBLE_VERSION = True
    API_KEY = 55
    API_VERSION = 1
    RESPONSE_TYPE = _DescribeQuorumResponse1
    SCHEMA = Schema(
        (
            "topics",
            CompactArray(
                ("topic", CompactString()),
                ("partitions", CompactArray(("partition", Int32), ("tags", TaggedFields))),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _DescribeQuorum(Request[_DescribeQuorumRequest1]):
    API_KEY = 55

    def build(self, request_struct_class: type[_DescribeQuorumRequest1]) -> Any:
        return request_struct_class([(METADATA_TOPIC, [(0, {})], {})], {})
