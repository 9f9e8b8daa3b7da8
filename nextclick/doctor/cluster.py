"""A connection to the cluster for the checks, and what several of them need to know about it."""

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import TopicAuthorizationFailedError

from messaging.clients import admin
from messaging.contracts import TopicContract, topic_contracts
from messaging.permissions import Allowed, allowed_on_topics
from messaging.topics import existing_topics
from nextclick.doctor.roles import Role, topic_operations
from schemas.settings import Settings


@dataclass(frozen=True)
class Cluster:
    """What is known about the cluster.

    Attributes:
        client: connected.
        settings: of the deployment.
        roles: that this client has.
        brokers: how many there are.
        contracts: of the topics that the roles use.
        topics: the existing ones of them by name, with their configuration; it is empty where it may not be described.
        allowed: what this client may do with each; empty if the broker does not tell.
    """

    client: AIOKafkaAdminClient
    settings: Settings
    roles: Collection[Role]
    brokers: int
    contracts: list[TopicContract]
    topics: dict[str, TopicContract]
    allowed: dict[str, Allowed]

    @property
    def hidden(self) -> list[str]:
        """The topics that Kafka does not show to this client."""
        return [name for name, allowed in self.allowed.items() if allowed.error is TopicAuthorizationFailedError]


@asynccontextmanager
async def connected_cluster(settings: Settings, roles: Collection[Role]) -> AsyncIterator[Cluster]:
    """Connect, and learn what several checks need.

    Raises:
        BrokerError: as `messaging.clients.connected`.
        SettingsError: the files of the security settings cannot be used.
    """
    used = topic_operations(settings, roles)
    contracts = [contract for contract in topic_contracts(settings) if contract.name in used]
    names = [contract.name for contract in contracts]
    async with admin(settings) as client:
        try:
            allowed = await allowed_on_topics(client, names)
        except NotImplementedError:  # older than Kafka 2.8
            allowed = {}
        brokers = len((await client.describe_cluster())["brokers"])
        topics = await existing_topics(client, names)
        yield Cluster(client, settings, roles, brokers, contracts, topics, allowed)
