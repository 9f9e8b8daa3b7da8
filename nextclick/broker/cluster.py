"""Several Kafka nodes on this machine, for what a single one cannot show: replication, and the loss of a node."""

import shutil
import tempfile
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
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

HEAP_MB = 384


class ClusterNode(Node):
    """A node of a cluster, which its cluster configures and formats.

    Args:
        number: its node id, from 1 on.
        ports: where it listens.
        directory: its own.
        options: for Java; read at each start.
    """

    def __init__(self, number: int, ports: Ports, directory: Path, options: Callable[[], list[str]]) -> None:
        super().__init__(ports.clients, directory, HEAP_MB)
        self.number = number
        self.ports = ports
        self._options = options

    def start(self, ready_seconds: float = READY_SECONDS) -> None:
        """Start the node again and wait until it serves clients, which needs a majority of the nodes.

        Raises:
            BrokerError: it did not start.
        """
        self.begin()
        self.wait_ready(ready_seconds)

    def begin(self) -> None:
        """Start the node without waiting for it."""
        if not self.running:
            self.check_port()
            self.launch(self._options())


class LocalCluster(Secured):
    """Kafka nodes as child processes on 127.0.0.1; each is broker and controller. Topics have three copies.

    Args:
        nodes: how many; with one or two there are fewer copies.
        port: where clients reach the first node, the others take the next ports; 0: free ports.
        data: a directory with one folder for each node; created if missing, kept afterwards. None: a temporary
            directory, which `stop` removes.
        properties: Kafka settings that extend or override each node's own.
        security: how clients must log in; by default they need not.
        route: from the port that a node listens on for other nodes, to the port that they are told to connect to. A
            test puts a proxy there.

    Example:
        >>> with LocalCluster(nodes=3) as cluster:
        ...     cluster.brokers[0].kill()
        ...     cluster.brokers[0].start()
    """

    def __init__(
        self,
        nodes: int = 3,
        port: int = 0,
        data: Path | None = None,
        properties: Mapping[str, str] | None = None,
        security: Security | None = None,
        route: Callable[[int], int] = lambda port: port,
    ) -> None:
        self.security = security or Security()
        self.properties = dict(properties or {})
        self._temporary = data is None
        self.directory = data.absolute() if data is not None else Path(tempfile.mkdtemp(prefix="nextclick-brokers-"))
        self._route = route
        self.brokers = [
            ClusterNode(number, _ports(port + number - 1 if port else 0), self.directory / f"node-{number}",
                        lambda: java_options(self.access))
            for number in range(1, nodes + 1)
        ]  # fmt: skip

    @property
    def address(self) -> str:
        """`host:port` of each node, comma separated."""
        return ",".join(node.address for node in self.brokers)

    def start(self, ready_seconds: float = READY_SECONDS) -> None:
        """Start all nodes and wait until they serve clients.

        Raises:
            BrokerError: a port or the directory is in use, Kafka cannot be fetched, or a node did not start.
        """
        for node in self.brokers:
            node.check_port()
        with writable(self.directory):
            self.directory.mkdir(parents=True, exist_ok=True)
            self._access = self._access or Access(self.directory, self.security, self.address)
        self._configure(self._access)
        self._format()
        try:
            for node in self.brokers:
                node.begin()
            for node in self.brokers:
                node.wait_ready(ready_seconds)
            self._store_users([ADMIN, *self.security.users])
        except BaseException:
            for node in self.brokers:
                node.kill()
            raise

    def ended(self) -> Node | None:
        """A node that has ended; None if all of them run."""
        return next((node for node in self.brokers if not node.running), None)

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Shut the nodes down cleanly, and remove a temporary directory.

        The last nodes have no majority any more, and would wait for one: they are killed.
        """
        majority = len(self.brokers) // 2 + 1
        running = [node for node in self.brokers if node.running]
        for place, node in enumerate(running):
            if len(running) - place >= majority:
                node.stop(seconds)
            else:
                node.kill()
        if self._access is not None:
            self._access.close()
            self._access = None
        if self._temporary:
            shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _configure(self, access: Access) -> None:
        voters = ",".join(f"{node.number}@{HOST}:{self._route(node.ports.controller)}" for node in self.brokers)
        for node in self.brokers:
            assert node.ports.nodes is not None
            advertised = Ports(node.port, self._route(node.ports.nodes), self._route(node.ports.controller))
            own = node_properties(node.number, node.ports, advertised, access, node.log_directory)
            together = {"controller.quorum.voters": voters} | replication(len(self.brokers))
            node.configure(own | together | self.properties)

    def _format(self) -> None:
        """Format the first node; the others get copies of it, which saves a start of Java for each."""
        first, *others = self.brokers
        first.format(new_cluster_id())
        for node in others:
            if not node.log_directory.exists():
                _copy_formatted(first, node)

    @override
    def _store_users(self, names: list[str]) -> None:
        if self.security.sasl == "scram":
            passwords = {name: self.users[name] for name in names}
            running = [node for node in self.brokers if node.running]
            assert running[0].ports.nodes is not None
            store_passwords(self.access, running[0].ports.nodes, [node.port for node in running], passwords)


def _ports(clients: int) -> Ports:
    return Ports(clients or free_port(HOST), free_port(HOST), free_port(HOST))


def _copy_formatted(first: ClusterNode, node: ClusterNode) -> None:
    """A formatted directory differs from another of its cluster by the ids of the node and of the directory."""
    shutil.copytree(first.log_directory, node.log_directory)
    file = node.log_directory / "meta.properties"
    lines = dict(line.split("=", 1) for line in file.read_text().splitlines() if "=" in line)
    lines |= {"node.id": str(node.number), "directory.id": urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")}
    file.write_text("".join(f"{name}={value}\n" for name, value in lines.items()))
