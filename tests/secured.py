"""Plain aiokafka clients of a secured broker, and its ACLs."""

import asyncio
import base64
import json
import ssl
import urllib.request
from pathlib import Path
from typing import Any

from aiokafka.abc import AbstractTokenProvider
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Int8, Int16, Int32, Schema, String

from nextclick.broker import LocalBroker, LocalCluster
from nextclick.broker.security import MECHANISMS

Service = LocalBroker | LocalCluster

RESOURCES = {"topic": 2, "group": 3, "cluster": 4, "transactional_id": 5}
OPERATIONS = {
    name: number
    for number, name in enumerate(
        ["all", "read", "write", "create", "delete", "alter", "describe", "cluster_action", "describe_configs",
         "alter_configs", "idempotent_write"], start=2,
    )
}  # fmt: skip
PATTERNS = {"literal": 3, "prefixed": 4}


def client_options(
    broker: Service,
    user: str = "admin",
    *,
    password: str | None = None,
    mechanism: str | None = None,
    certificate: tuple[Path, Path] | None = None,
) -> dict[str, Any]:
    """The arguments of an aiokafka client that logs in as this user.

    Args:
        broker: started.
        user: its name.
        password: by default the right one.
        mechanism: Kafka's name of it; by default the first of those that the broker offers.
        certificate: certificate and key files; by default those of the user, if the broker asks for any.
    """
    security = broker.security
    options: dict[str, Any] = {"bootstrap_servers": broker.address, "security_protocol": security.protocol}
    if security.tls:
        context = ssl.create_default_context(cafile=str(broker.ca_file))
        if certificate is None and security.presents_certificate:
            certificate = broker.access.certificate_of(user), broker.access.key_of(user)
        if certificate is not None:
            context.load_cert_chain(*certificate)
        options["ssl_context"] = context
    if security.sasl is not None:
        secret = broker.users[user] if password is None else password
        options["sasl_mechanism"] = mechanism or MECHANISMS[security.sasl][0]
        if security.sasl == "oauthbearer":
            options["sasl_oauth_token_provider"] = ClientCredentials(broker.token_url, user, secret)
        else:
            options |= {"sasl_plain_username": user, "sasl_plain_password": secret}
    return options


class ClientCredentials(AbstractTokenProvider):  # type: ignore[misc]
    """Asks the broker's own token endpoint."""

    def __init__(self, url: str, client: str, secret: str) -> None:
        self._url, self._client, self._secret = url, client, secret

    async def token(self) -> str:
        return await asyncio.to_thread(self._ask)

    def _ask(self) -> str:
        basic = base64.b64encode(f"{self._client}:{self._secret}".encode()).decode()
        request = urllib.request.Request(
            self._url, b"grant_type=client_credentials", headers={"Authorization": f"Basic {basic}"}
        )
        with urllib.request.urlopen(request, timeout=10) as response:
            return str(json.load(response)["access_token"])


async def allow(
    admin: AIOKafkaAdminClient, user: str, operations: list[str], resource: str, name: str, pattern: str = "literal"
) -> None:
    """Add ACLs: this user may do these operations on a resource.

    Args:
        admin: started, of a user who may.
        user: its name.
        operations: of `OPERATIONS`.
        resource: of `RESOURCES`.
        name: of the topic, group or transactional id; `kafka-cluster` for the cluster.
        pattern: of `PATTERNS`.
    """
    rows = [
        (RESOURCES[resource], name, PATTERNS[pattern], f"User:{user}", "*", OPERATIONS[operation], 3)
        for operation in operations
    ]
    response = await admin._send_to_controller(_CreateAcls(rows))
    assert all(code == 0 for code, _ in response.results), response


class _CreateAclsResponse1(Response):
    API_KEY = 30
    API_VERSION = 1
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("results", Array(("error_code", Int16), ("error_message", String("utf-8")))),
    )


class _CreateAclsRequest1(RequestStruct):
    API_KEY = 30
    API_VERSION = 1
    RESPONSE_TYPE = _CreateAclsResponse1
    SCHEMA = Schema(
        (
            "creations",
            Array(
                ("resource_type", Int8),
                ("resource_name", String("utf-8")),
                ("pattern_type", Int8),
                ("principal", String("utf-8")),
                ("host", String("utf-8")),
                ("operation", Int8),
                ("permission", Int8),
            ),
        ),
    )


class _CreateAcls(Request[_CreateAclsRequest1]):
    API_KEY = 30

    def __init__(self, rows: list[tuple[Any, ...]]) -> None:
        self._rows = rows

    def build(self, request_struct_class: type[_CreateAclsRequest1]) -> Any:
        return request_struct_class(self._rows)
