"""The network between the nodes of a local cluster: one node can be cut off from the others, but not from its clients.

A node is told to reach the others through ports of this network, which passes the bytes on. It finds out which node a
connection comes from by the process that has the other end of it, so it needs Linux's /proc.
"""

import asyncio
import contextlib
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from nextclick.broker import LocalCluster
from nextclick.broker.cluster import ClusterNode
from nextclick.broker.ports import free_port

HOST = "127.0.0.1"


class NodeNetwork:
    """Passes on what the nodes of a cluster send each other; runs in its own thread.

    Example:
        >>> network = NodeNetwork()
        >>> network.cluster = LocalCluster(route=network.route)
        >>> network.isolate(network.cluster.brokers[0])
        >>> network.heal()
    """

    cluster: LocalCluster

    def __init__(self) -> None:
        self._isolated: ClusterNode | None = None
        self._loop = asyncio.new_event_loop()
        self._changed = asyncio.Event()
        self._servers: list[asyncio.Server] = []
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def route(self, port: int) -> int:
        """A port that leads to this port of a node."""
        entrance = free_port(HOST)

        async def listen() -> None:
            self._servers.append(
                await asyncio.start_server(lambda *streams: self._connect(port, *streams), HOST, entrance)
            )

        self._run(listen())
        return entrance

    def isolate(self, node: ClusterNode) -> None:
        """Nothing passes between this node and the others; connections stay open, as when packets are dropped."""
        self._set(node)

    def heal(self) -> None:
        """Everything passes again, also what was sent meanwhile."""
        self._set(None)

    def close(self) -> None:
        async def end() -> None:
            for server in self._servers:
                server.close()
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        self._run(end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _set(self, isolated: ClusterNode | None) -> None:
        async def change() -> None:
            self._isolated = isolated
            self._changed.set()
            self._changed = asyncio.Event()

        self._run(change())

    def _passes(self, source: ClusterNode | None, port: int) -> bool:
        isolated = self._isolated
        return isolated is None or (source is isolated) == (port in {isolated.ports.nodes, isolated.ports.controller})

    async def _connect(self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        source = self._node_of(writer.get_extra_info("peername")[1])
        try:
            target_reader, target_writer = await asyncio.open_connection(HOST, port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(
            self._pump(source, port, reader, target_writer), self._pump(source, port, target_reader, writer)
        )

    async def _pump(
        self, source: ClusterNode | None, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            with contextlib.suppress(OSError):
                while data := await reader.read(65_536):
                    while not self._passes(source, port):
                        await self._changed.wait()
                    writer.write(data)
                    await writer.drain()
        finally:
            writer.close()

    def _node_of(self, port: int) -> ClusterNode | None:
        """The node whose process has this end of a connection."""
        inodes = _sockets_at(port)
        for node in self.cluster.brokers:
            if node.running and inodes & _sockets_of(node.pid):
                return node
        return None


def _sockets_at(port: int) -> set[str]:
    """The sockets with this local port, as /proc names open files."""
    rows = [
        line.split()
        for table in ("/proc/net/tcp", "/proc/net/tcp6")
        for line in Path(table).read_text().splitlines()[1:]
    ]
    return {f"socket:[{row[9]}]" for row in rows if int(row[1].rsplit(":", 1)[1], 16) == port}


def _sockets_of(pid: int) -> set[str]:
    """The open files of a process, by what they are links to."""
    found = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            found.add(str(link.readlink()))
    return found
