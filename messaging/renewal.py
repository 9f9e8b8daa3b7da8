"""Connections that are renewed before the broker ends them.

A broker ends a connection when the login that opened it expires: with an OAUTHBEARER token, or after the broker's
`connections.max.reauth.ms` (KIP-368). aiokafka does not log in again on an open connection. So requests go to a new
connection after most of that time, and the old one is closed once it has answered what was sent on it.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any

from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import KafkaError, StaleMetadata
from aiokafka.protocol.admin import SaslAuthenticateRequest
from typing_extensions import override

from schemas.errors import SettingsError

FAILURES = (OSError, TimeoutError, KafkaError, SettingsError)
"""What can prevent a connection."""

log = logging.getLogger("aiokafka")  # this file does what aiokafka's client does otherwise

RENEWED_SHARE = 0.8
"""After this share of its session another connection is opened, beside the requests."""

LAST_SECONDS = 1.0
"""A connection takes no request in the last moment of its session: it might arrive too late."""

RETRY_SECONDS = 2.0
"""Pause before the next try, if no new connection could be opened."""

DRAIN_SECONDS = 60.0
"""Longest time in which an old connection may answer."""


class Connection(AIOKafkaConnection):
    """A connection that knows how long its login is valid."""

    _due: float | None = None
    _ends: float | None = None

    def is_due(self) -> bool:
        """Whether another connection should take its place."""
        return self._due is not None and monotonic() >= self._due

    def serves(self) -> bool:
        """Whether it is open and its login valid for a while yet."""
        return bool(self.connected()) and (self._ends is None or monotonic() < self._ends)

    def put_off(self) -> None:
        """Try a moment later: no other connection could be opened."""
        self._due = monotonic() + RETRY_SECONDS

    def is_busy(self) -> bool:
        """Whether an answer is outstanding."""
        return self.connected() and bool(self._requests)

    @override
    def send(self, request: Any, expect_response: bool = True) -> Any:
        answer = super().send(request, expect_response)
        return self._note(answer) if isinstance(request, SaslAuthenticateRequest) else answer

    async def _note(self, answer: Any) -> Any:
        """Keep the session's length, which the broker tells when the login succeeds; 0: it has no end."""
        response = await answer
        lifetime = getattr(response, "session_lifetime_ms", 0)
        if lifetime > 0:
            self._due = monotonic() + RENEWED_SHARE * lifetime / 1000
            self._ends = monotonic() + lifetime / 1000 - LAST_SECONDS
        return response


class Renewal:
    """Opens the connections of a client, in place of `AIOKafkaClient._get_conn`, and renews those that are due.

    A connection that is due serves until another one is open: no request waits for an identity provider meanwhile.

    Args:
        client: of a consumer, a producer or an admin client.
        options: gives the security options of the next connection, see `messaging.security.Security.options`.
    """

    def __init__(self, client: AIOKafkaClient, options: Callable[[], Mapping[str, Any]]) -> None:
        self._client, self._options = client, options
        self._close = client.close
        self._renewing: dict[Any, asyncio.Task[None]] = {}
        self._draining: set[asyncio.Task[None]] = set()

    def install(self) -> None:
        """Take the place of the client's own functions."""
        self._client._get_conn, self._client.close = self.connection, self.close

    async def connection(
        self,
        node_id: Any,
        *,
        group: Any = ConnectionGroup.DEFAULT,
        no_hint: bool = False,  # noqa: ARG002
    ) -> AIOKafkaConnection | None:
        """The open connection to a broker; None if there is none and none can be opened, which is logged."""
        key, connections = (node_id, group), self._client._conns
        current = connections.get(key)
        if _serves(current):
            if isinstance(current, Connection) and current.is_due() and key not in self._renewing:
                self._renewing[key] = task = asyncio.create_task(self._renew(key, current))
                task.add_done_callback(lambda _: self._renewing.pop(key, None))
            return current
        try:
            async with self._client._get_conn_lock:
                if key in self._renewing:
                    await asyncio.wait([self._renewing[key]])
                if not _serves(current := connections.get(key)):
                    connections[key] = await self._opened(node_id)
                    self._retire(current)
            return connections[key]
        except FAILURES as error:
            log.error("Unable connect to node with id %s: %s", node_id, error)
            self._retire(connections.pop(key, None))
            self._client.force_metadata_update()
            return None

    async def close(self) -> None:
        """Close the client, and connections that are being opened or drained."""
        for task in (*self._renewing.values(), *self._draining):
            task.cancel()
        await self._close()

    async def _renew(self, key: Any, old: Connection) -> None:
        try:
            new = await self._opened(key[0])
        except FAILURES as error:
            log.error("Unable connect to node with id %s: %s", key[0], error)
            old.put_off()
            return
        if self._client._conns.get(key) is old:
            self._client._conns[key] = new
            self._retire(old)
        else:  # it was closed meanwhile
            new.close(reason=CloseReason.IDLE_DROP)

    def _retire(self, old: AIOKafkaConnection | None) -> None:
        if isinstance(old, Connection) and old.connected():
            task = asyncio.create_task(_drain(old))
            self._draining.add(task)
            task.add_done_callback(self._draining.discard)

    async def _opened(self, node_id: Any) -> Connection:
        client = self._client
        broker = client.cluster.broker_metadata(node_id)
        if broker is None:
            raise StaleMetadata(f"Broker id {node_id} not in current metadata")
        connection = Connection(
            broker.host,
            broker.port,
            client_id=client._client_id,
            request_timeout_ms=client._request_timeout_ms,
            on_close=client._on_connection_closed,
            max_idle_ms=client._connections_max_idle_ms,
            **self._options(),
        )
        try:
            await connection.connect()
        except BaseException:
            connection.close()
            raise
        return connection


def _serves(connection: AIOKafkaConnection | None) -> bool:
    if isinstance(connection, Connection):
        return connection.serves()
    return connection is not None and bool(connection.connected())


async def _drain(connection: Connection) -> None:
    """Close a connection once it has answered."""
    deadline = monotonic() + DRAIN_SECONDS
    try:
        while connection.is_busy() and monotonic() < deadline:
            await asyncio.sleep(0.05)
    finally:
        connection.close(reason=CloseReason.IDLE_DROP)
