"""A cluster of local brokers: it serves on without one of them, and it is what `nextclick broker --nodes` starts."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from messaging.ports import why_port_is_taken
from nextclick.broker import LocalCluster, Security
from tests.secured import client_options

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.xdist_group("secured broker")]

SENT = [str(number).encode() for number in range(3)]


async def send(cluster: LocalCluster, value: bytes) -> None:
    producer = AIOKafkaProducer(**client_options(cluster), acks="all")
    await producer.start()
    await producer.send_and_wait("kept", value, partition=0)
    await producer.stop()


async def read(cluster: LocalCluster, group: str) -> list[bytes]:
    consumer = AIOKafkaConsumer("kept", group_id=group, auto_offset_reset="earliest", **client_options(cluster))
    await consumer.start()
    values = [(await asyncio.wait_for(consumer.getone(), 30)).value for _ in SENT]
    await consumer.commit()
    await consumer.stop()
    return values


async def test_three_nodes_keep_everything_while_each_is_killed_in_turn(tmp_path: Path) -> None:
    with LocalCluster(nodes=3, data=tmp_path / "kafka", security=Security(tls=True, sasl="scram", acl=True)) as cluster:
        admin = AIOKafkaAdminClient(**client_options(cluster))
        await admin.start()
        response = await admin.create_topics([NewTopic("kept", 1, 3)])
        assert response.topic_errors[0][1] == 0, response
        (topic,) = await admin.describe_topics(["kept"])
        assert len(topic["partitions"][0]["replicas"]) == 3
        await admin.close()
        for node, value in zip(cluster.brokers, SENT, strict=True):
            node.kill()
            await send(cluster, value)
            await asyncio.to_thread(node.start)
        cluster.brokers[0].kill()
        assert await read(cluster, "a group") == SENT


def test_the_command_prints_settings_that_log_in(command_line: Any, free_port: int, tmp_path: Path) -> None:
    """Also that it stops all of its nodes."""
    ports = [free_port, free_port + 1, free_port + 2]
    command = command_line.start(
        "broker", "--port", str(free_port), "--data", "kafka", "--nodes", "3", "--tls", "--sasl", "scram",
        "--user", "worker",
    )  # fmt: skip
    try:
        assert command.stdout is not None
        said = [command.stdout.readline() for _ in range(5)]
        pasted = [line.strip() for line in said if "=" in line]
        assert pasted[0] == "NEXTCLICK_BROKER=" + ",".join(f"127.0.0.1:{port}" for port in ports)
        assert 'username="worker"' in Path(pasted[-1].split("=")[1]).read_text()
        (tmp_path / ".env").write_text("\n".join([*pasted, "NEXTCLICK_REPLICATION=3"]))
        code, _, errors = command_line.run("topics")
        assert code == 0, errors
        command.terminate()
        assert command.wait(60) == 0
        assert all(why_port_is_taken("127.0.0.1", port) is None for port in ports)
    finally:
        command.kill()
