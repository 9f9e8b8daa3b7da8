"""Passwords of SCRAM users, stored by a request to a running broker.

aiokafka has no such request (Kafka's AlterUserScramCredentials), so it and its response are written out here.
"""

import asyncio
import hashlib
import secrets
import ssl
import time
from collections.abc import Mapping, Sequence
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.conn import create_conn
from aiokafka.errors import KafkaError
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import CompactArray, CompactBytes, CompactString, Int8, Int16, Int32, Schema, TaggedFields

from messaging.clients import quiet_client_log
from messaging.loop_thread import LoopThread
from nextclick.broker.access import Access
from nextclick.broker.properties import HOST
from nextclick.broker.security import MECHANISMS, NODE_USER
from schemas.errors import BrokerError

ITERATIONS = 4096
"""The least that Kafka takes. The passwords are random, so more would only make each login slower."""
EFFECT_SECONDS = 20.0
"""Within this time each node must know the new passwords."""

_HASHES = {"SCRAM-SHA-256": (1, "sha256"), "SCRAM-SHA-512": (2, "sha512")}


def store_passwords(access: Access, node_port: int, client_ports: Sequence[int], users: Mapping[str, str]) -> None:
    """Give SCRAM users their passwords; returns when each node lets them in.

    Args:
        access: how clients log in to the brokers.
        node_port: where the brokers talk to each other.
        client_ports: where clients connect, of each running node.
        users: name → password; an existing user gets this password.

    Raises:
        BrokerError: Kafka refuses, or does not let them in in time.
    """
    with LoopThread("scram") as loop, quiet_client_log():
        try:
            loop.run(_store(access.node_password, node_port, users))
            for port in client_ports:
                loop.run(_wait_for_login(access, port, users))
        except (KafkaError, OSError) as error:
            raise BrokerError(f"Kafka did not take the users' passwords: {error!r}") from error


async def _store(node_password: str, node_port: int, users: Mapping[str, str]) -> None:
    client = AIOKafkaAdminClient(
        bootstrap_servers=f"{HOST}:{node_port}",
        security_protocol="SASL_PLAINTEXT",
        sasl_mechanism="PLAIN",
        sasl_plain_username=NODE_USER,
        sasl_plain_password=node_password,
    )
    await client.start()
    try:
        for mechanism in MECHANISMS["scram"]:  # Kafka changes a user once in a request
            response = await client._send_to_controller(_StorePasswords(mechanism, users))
            for name, code, message, _ in response.results:
                if code:
                    raise BrokerError(f"Kafka refused the user {name} (error {code}): {message}")
    finally:
        await client.close()


async def _wait_for_login(access: Access, port: int, users: Mapping[str, str]) -> None:
    deadline = time.monotonic() + EFFECT_SECONDS
    for name, password in users.items():
        while True:
            try:
                await _log_in(access, port, name, password)
                break
            except KafkaError:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.05)


async def _log_in(access: Access, port: int, name: str, password: str) -> None:
    context = None
    if access.security.tls:
        context = ssl.create_default_context(cafile=str(access.ca_file))
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # a test's certificate may be a wrong one
        context.load_cert_chain(access.certificate_of(name), access.key_of(name))
    connection = await create_conn(
        HOST,
        port,
        security_protocol=access.security.protocol,
        ssl_context=context,
        sasl_mechanism=MECHANISMS["scram"][0],
        sasl_plain_username=name,
        sasl_plain_password=password,
    )
    connection.close()


class _StorePasswordsResponse0(Response):
    API_KEY = 51
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "results",
            CompactArray(
                ("user", CompactString()),
                ("error_code", Int16),
                ("error_message", CompactString()),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _StorePasswordsRequest0(RequestStruct):
    FLEXIBLE_VERSION = True
    API_KEY = 51
    API_VERSION = 0
    RESPONSE_TYPE = _StorePasswordsResponse0
    SCHEMA = Schema(
        ("deletions", CompactArray(("name", CompactString()), ("mechanism", Int8), ("tags", TaggedFields))),
        (
            "upsertions",
            CompactArray(
                ("name", CompactString()),
                ("mechanism", Int8),
                ("iterations", Int32),
                ("salt", CompactBytes),
                ("salted_password", CompactBytes),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _StorePasswords(Request[_StorePasswordsRequest0]):
    API_KEY = 51

    def __init__(self, mechanism: str, users: Mapping[str, str]) -> None:
        self._mechanism = mechanism
        self._users = users

    def build(self, request_struct_class: type[_StorePasswordsRequest0]) -> Any:
        number, digest = _HASHES[self._mechanism]
        rows: list[tuple[Any, ...]] = []
        for name, password in self._users.items():
            salt = secrets.token_bytes(16)
            rows.append((name, number, ITERATIONS, salt, _salted(digest, password, salt), {}))
        return request_struct_class([], rows, {})


def _salted(digest: str, password: str, salt: bytes) -> bytes:
    return hashlib.pbkdf2_hmac(digest, password.encode(), salt, ITERATIONS)
