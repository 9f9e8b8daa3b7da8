import asyncio
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from messaging.clients import admin
from messaging.contracts import TopicContract
from messaging.topics import create_topics
from nextclick.broker import LocalBroker, java_runtime, kafka_jars
from schemas.errors import BrokerError
from schemas.settings import Settings

LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F"}


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def wait_until_gone(pid: int, seconds: float = 15) -> bool:
    deadline = time.monotonic() + seconds
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not alive(pid)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[LocalBroker]:
    node = LocalBroker(port=0, data=tmp_path / "kafka")
    yield node
    node.stop()


@pytest.mark.kafka
@pytest.mark.slow
def test_it_listens_on_the_loopback_and_goes_on_with_its_data_after_kill_9(broker: LocalBroker) -> None:
    broker.start()
    assert listening_addresses(broker.port) <= LOOPBACK

    async def write() -> None:
        async with admin(Settings(_env_file=None, broker=broker.address)) as client:
            await create_topics(client, [TopicContract("kept", 3, 1)])
        producer = AIOKafkaProducer(bootstrap_servers=broker.address, acks="all")
        await producer.start()
        await producer.send_and_wait("kept", b"value", partition=1)
        await producer.stop()

    async def read() -> bytes:
        consumer = AIOKafkaConsumer(bootstrap_servers=broker.address, auto_offset_reset="earliest")
        await consumer.start()
        consumer.assign([TopicPartition("kept", 1)])
        record = await asyncio.wait_for(consumer.getone(), 20)
        await consumer.stop()
        return bytes(record.value)

    asyncio.run(write())
    port, first = broker.port, broker.pid
    broker.kill()
    assert not alive(first)
    broker.start()
    assert (broker.port, asyncio.run(read())) == (port, b"value")


def test_a_second_broker_on_the_same_port_says_so(command_line: Any, free_port: int) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", free_port))
        taken.listen()
        code, _, errors = command_line.run("broker", "--port", str(free_port), "--data", "kafka")
    assert code == 1
    assert errors.startswith(f"nextclick: port {free_port} on 127.0.0.1 cannot be used")
    assert errors.count("\n") == 1


def test_a_broker_that_cannot_be_fetched_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def offline(_endpoint: str) -> None:
        raise ConnectionError("no route")

    monkeypatch.setattr("jgo.build", offline)
    with pytest.raises(BrokerError, match=r"cannot be fetched.*no route.*NEXTCLICK_BROKER"):
        LocalBroker(data=tmp_path).start()


def test_java_home_is_preferred_where_it_is_new_enough(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "java").touch(mode=0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    chosen = {}
    for version in ("1.8.0_402", "11.0.2", "17.0.1", "25"):
        (tmp_path / "release").write_text(f'IMPLEMENTOR="x"\nJAVA_VERSION="{version}"\n')
        chosen[version] = java_runtime() == tmp_path / "bin" / "java"
    assert chosen == {"1.8.0_402": False, "11.0.2": False, "17.0.1": True, "25": True}


@pytest.mark.alone
@pytest.mark.xdist_group("alone")
def test_resolving_kafka_again_takes_milliseconds() -> None:
    kafka_jars()
    begin = time.monotonic()
    assert any(jar.name.startswith("kafka_2.13") for jar in kafka_jars())
    assert time.monotonic() - begin < 0.5


@pytest.mark.kafka
@pytest.mark.slow
@pytest.mark.parametrize(("ending", "code"), [(signal.SIGINT, 0), (signal.SIGKILL, -9)])
def test_the_command_leaves_no_process_behind(command_line: Any, ending: int, code: int, free_port: int) -> None:
    command = command_line.start("broker", "--port", str(free_port), "--data", "kafka")
    try:
        assert command.stdout is not None
        line = command.stdout.readline()
        assert f"NEXTCLICK_BROKER=127.0.0.1:{free_port}" in line
        children = Path(f"/proc/{command.pid}/task/{command.pid}/children").read_text().split()
        assert len(children) == 1
        os.kill(command.pid, ending)
        assert command.wait(20) == code
        assert wait_until_gone(int(children[0]))
    finally:
        command.kill()


def listening_addresses(port: int) -> set[str]:
    """The addresses, in Linux's notation, that have a listener on the port."""
    rows = [
        line.split()
        for table in ("/proc/net/tcp", "/proc/net/tcp6")
        for line in Path(table).read_text().splitlines()[1:]
    ]
    return {row[1].rsplit(":", 1)[0] for row in rows if row[3] == "0A" and int(row[1].rsplit(":", 1)[1], 16) == port}
