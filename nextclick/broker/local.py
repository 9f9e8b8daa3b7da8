"""A single Kafka node, the one that most people start."""

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from typing_extensions import override

from nextclick.broker.access import Access
from nextclick.broker.node import READY_SECONDS, STOP_SECONDS, Node, new_cluster_id, writable
from nextclick.broker.ports import free_port
from nextclick.broker.properties import HOST, Ports, java_options, node_properties, replication
from nextclick.broker.scram import store_passwords
from nextclick.broker.secured import Secured
from nextclick.broker.security import ADMIN, Security

HEAP_MB = 512


class LocalBroker(Node, Secured):
    """One Kafka node as a child process, bound to 127.0.0.1 only.

    The node ends when the thread or the process that started it ends (on Linux also when that process is killed).

    Args:
        port: where clients connect; 0 takes a free port.
        data: directory of topics, configuration and `broker.log`; created if missing, kept afterwards. None: a
            temporary directory, which `stop` removes.
        properties: Kafka settings that extend or override the node's own.
        security: how clients must log in; by default they need not.

    Example:
        >>> broker = LocalBroker(port=0, data=Path("kafka"))
        >>> broker.start()          # returns when clients can connect
        >>> broker.stop()
    """

    def __init__(
        self,
        port: int = 0,
        data: Path | None = None,
        properties: Mapping[str, str] | None = None,
        security: Security | None = None,
    ) -> None:
        super().__init__(port, data.absolute() if data is not None else None, HEAP_MB)
        self.properties = dict(properties or {})
        self.security = security or Security()
        self._temporary = data is None
        self._node_port: int | None = None

    @property
    @override
    def directory(self) -> Path:
        if self._directory is None:
            self._directory = Path(tempfile.mkdtemp(prefix="nextclick-broker-"))
        return self._directory

    def start(self, ready_seconds: float = READY_SECONDS) -> None:
        """Start Kafka and wait until it serves clients; topics already in the data directory are kept.

        Raises:
            BrokerError: the port or the directory is in use, Kafka cannot be fetched, or it did not start.
        """
        if self.running:
            return
        self.port = self.port or free_port(HOST)
        self.check_port()
        self._configure()
        self.format(new_cluster_id(), "--standalone")
        self.launch(java_options(self.access))
        try:
            self.wait_ready(ready_seconds)
            self._store_users([ADMIN, *self.security.users])
        except BaseException:
            self.kill()
            raise

    def ended(self) -> Node | None:
        """This node, if it has ended."""
        return None if self.running else self

    @override
    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Shut Kafka down cleanly (kill it if that takes too long), and remove a temporary directory."""
        super().stop(seconds)
        if self._access is not None:
            self._access.close()
            self._access = None
        if self._temporary and self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _configure(self) -> None:
        """Certificates, users and settings; a node that was killed keeps those that its clients know."""
        with writable(self.directory):
            self.directory.mkdir(parents=True, exist_ok=True)
            self._access = self._access or Access(self.directory, self.security, self.address)
        self._node_port = free_port(HOST) if self.security.secured else None
        ports = Ports(self.port, self._node_port, free_port(HOST))
        quorum = {"controller.quorum.bootstrap.servers": f"{HOST}:{ports.controller}"}
        own = node_properties(1, ports, ports, self._access, self.log_directory)
        self.configure(own | quorum | replication(1) | self.properties)

    @override
    def _store_users(self, names: list[str]) -> None:
        if self._node_port is not None and self.security.sasl == "scram":
            passwords = {name: self.users[name] for name in names}
            store_passwords(self.access, self._node_port, [self.port], passwords)
