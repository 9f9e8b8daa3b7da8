"""One Kafka process on a directory of its own."""

import contextlib
import os
import re
import subprocess
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from messaging.ports import why_port_is_taken
from nextclick.broker.properties import HOST
from nextclick.broker.property_file import content_of
from nextclick.broker.runtime import java_runtime, kafka_jars
from nextclick.broker.secret_files import write_secret
from nextclick.child_process import kill_child, start_child, stop_child
from schemas.errors import BrokerError

READY_SECONDS = 60.0
STOP_SECONDS = 20.0

_STARTED = b"Kafka Server started"

# Halves the CPU time of a start, for laptops and tests. Kafka still accepts 150,000 clicks/s on two cores.
_QUICK_START = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
_LOG_FORMAT = {"showDateTime": "true", "dateTimeFormat": "yyyy-MM-dd HH:mm:ss.SSS", "showThreadName": "false"}


@contextlib.contextmanager
def writable(directory: Path) -> Iterator[None]:
    """Files are written into a broker's directory inside the block.

    Raises:
        BrokerError: they cannot be.
    """
    try:
        yield
    except OSError as error:
        raise BrokerError(
            f"the broker's directory {directory} cannot be written ({error.strerror}): choose another by --data"
        ) from error


def new_cluster_id() -> str:
    """A random id of a cluster, as Kafka wants it."""
    return urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "A")


class Node:
    """A Kafka process, bound to 127.0.0.1 only.

    It ends when the thread or the process that started it ends (on Linux also when that process is killed).

    Args:
        port: where clients connect.
        directory: of topics, configuration and `broker.log`; None: a subclass knows it.
        heap_mb: the most memory that its data takes, MB.
    """

    def __init__(self, port: int, directory: Path | None, heap_mb: int) -> None:
        self.port = port
        self._directory = directory
        self._heap_mb = heap_mb
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    @property
    def address(self) -> str:
        """`host:port` for clients; the port is final once the broker has started."""
        return f"{HOST}:{self.port}"

    @property
    def pid(self) -> int:
        """The process id of the running Kafka."""
        if self._process is None:
            raise BrokerError("the local broker has not been started")
        return self._process.pid

    @property
    def directory(self) -> Path:
        """Where topics, configuration and `broker.log` are."""
        assert self._directory is not None
        return self._directory

    @property
    def log(self) -> Path:
        """Kafka's log file; each run on the same directory appends to it."""
        return self.directory / "broker.log"

    @property
    def log_directory(self) -> Path:
        """Where Kafka keeps topics and metadata."""
        return self.directory / "topics"

    @property
    def running(self) -> bool:
        """Whether the Kafka process is alive."""
        return self._process is not None and self._process.poll() is None

    def wait(self) -> int:
        """Wait until Kafka ends by itself; returns its exit code."""
        assert self._process is not None
        return self._process.wait()

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Shut Kafka down cleanly; kill it if that takes too long."""
        if self._process is not None:
            stop_child(self._process, seconds)

    def kill(self) -> None:
        """End Kafka as a crash would (SIGKILL); its directory stays, and `start` can use it again."""
        if self._process is not None:
            kill_child(self._process)

    def wait_ready(self, seconds: float = READY_SECONDS) -> None:
        """Wait until Kafka serves clients.

        Raises:
            BrokerError: it ended or did not start in time, with Kafka's last error line.
        """
        deadline = time.monotonic() + seconds
        while _STARTED not in self._log_of_this_run():
            if not self.running:
                raise BrokerError(f"Kafka ended while starting: {self._reason()} (all of it: {self.log})")
            if time.monotonic() > deadline:
                raise BrokerError(f"Kafka did not come up within {seconds:g} s: {self._reason()} (see {self.log})")
            time.sleep(0.05)

    def configure(self, properties: Mapping[str, str]) -> None:
        """Write Kafka's settings.

        Raises:
            BrokerError: the directory cannot be written.
        """
        with writable(self.directory):
            self.directory.mkdir(parents=True, exist_ok=True)
            write_secret(self._properties_file, content_of(properties))
            self.log.touch()

    def format(self, cluster: str, *arguments: str) -> None:
        """Prepare the directory for a first start; nothing happens where that has been done.

        Args:
            cluster: id of the cluster, 22 characters of base64.
            arguments: more of them for Kafka's `kafka-storage format`.

        Raises:
            BrokerError: Kafka refuses.
        """
        if (self.log_directory / "meta.properties").exists():
            return
        with self.log.open("ab") as log:
            self._log_start = log.tell()
            done = subprocess.run(
                [
                    *self._java(), "kafka.tools.StorageTool", "format", "--ignore-formatted", "--cluster-id", cluster,
                    "--config", str(self._properties_file), *arguments,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.directory,
                check=False,
            )  # fmt: skip
        if done.returncode != 0:
            raise BrokerError(f"Kafka cannot format {self.log_directory}: {self._reason()} (all of it: {self.log})")

    def check_port(self) -> None:
        """See that clients will find this node and nothing else at its port.

        Raises:
            BrokerError: the port is in use.
        """
        if (why := why_port_is_taken(HOST, self.port)) is not None:
            raise BrokerError(
                f"port {self.port} on {HOST} cannot be used ({why}): stop what listens there, "
                "or choose another by --port"
            )

    def launch(self, java_options: Sequence[str] = ()) -> None:
        """Start Kafka on its configured and formatted directory, without waiting for it.

        Raises:
            BrokerError: Kafka cannot be fetched.
        """
        with self.log.open("ab") as log:
            self._log_start = log.tell()
            command = [*self._java(), *java_options, "kafka.Kafka", str(self._properties_file)]
            self._process = start_child(command, self.directory, log)

    @property
    def _properties_file(self) -> Path:
        return self.directory / "server.properties"

    def _java(self) -> list[str]:
        return [
            str(java_runtime()), "-Xms128m", f"-Xmx{self._heap_mb}m", *_QUICK_START, "-XX:+ExitOnOutOfMemoryError",
            *(f"-Dorg.slf4j.simpleLogger.{name}={value}" for name, value in _LOG_FORMAT.items()),
            "-cp", os.pathsep.join(map(str, kafka_jars())),
        ]  # fmt: skip

    def _log_of_this_run(self) -> bytes:
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            return log.read()

    def _reason(self) -> str:
        lines = self._log_of_this_run().decode(errors="replace").splitlines()
        if any("Failed to acquire lock on file .lock" in line for line in lines):
            return f"{self.directory} is in use by another broker; stop that one or choose another by --data"
        telling = [line for line in lines if re.search(r"\b(ERROR|FATAL|Exception|Error)\b", line)] or lines
        return telling[-1].strip()[:300] if telling else "it wrote no log"
