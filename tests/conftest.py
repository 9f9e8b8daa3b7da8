"""A real Kafka for the tests: NEXTCLICK_TEST_BROKER, else a container where a Docker engine answers, else our own."""

import asyncio
import hashlib
import os
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from messaging.clients import admin
from messaging.contracts import topic_contracts
from messaging.topics import create_topics
from nextclick.broker import LocalBroker
from schemas.settings import Settings

pytest_plugins = ["tests.command_line", "tests.s3_server"]

PARTITIONS = 4

ROOT = Path(__file__).parent.parent
COMPILED = sorted(
    [
        *ROOT.glob("trainer/backends/compiled_cpu/*.py"),
        *ROOT.glob("rankers/scoring/*.py"),
        ROOT / "rankers" / "compiled.py",
        ROOT / "trainer" / "batches" / "session_parallel.py",
        ROOT / "trainer" / "objective" / "negatives.py",
    ]
)
STATE = hashlib.sha256(b"".join(source.read_bytes() for source in COMPILED)).hexdigest()[:16]
os.environ.setdefault("NUMBA_CACHE_DIR", str(ROOT / ".pytest_cache" / "numba" / STATE))
"""Numba would not see that a function changed which is compiled into another file's; tests must not run the old one."""


@pytest.fixture(scope="session")
def kafka() -> Iterator[str]:
    """The address of a Kafka that lives as long as the test session; started by the first test that asks for it."""
    given = os.environ.get("NEXTCLICK_TEST_BROKER")
    if given:
        yield given
    elif _docker_answers():
        from testcontainers.kafka import KafkaContainer

        with KafkaContainer("confluentinc/cp-kafka:7.6.0").with_kraft() as container:
            yield container.get_bootstrap_server()
    else:
        with LocalBroker() as broker:
            yield broker.address


@pytest.fixture
def bare_settings(kafka: str, tmp_path: Path) -> Settings:
    """Settings with topic names of the test's own; the topics do not exist yet."""
    mark = uuid.uuid4().hex[:8]
    return Settings(
        _env_file=None,
        broker=kafka,
        app_id=f"t-{mark}",
        clicks_topic=f"t-{mark}-clicks",
        recommendations_topic=f"t-{mark}-recommendations",
        models_topic=f"t-{mark}-models",
        rejected_topic=f"t-{mark}-rejected",
        partitions=PARTITIONS,
        data_dir=tmp_path / "data",
        models_uri=str(tmp_path / "models"),
    )


@pytest.fixture
def kafka_settings(bare_settings: Settings) -> Settings:
    """Settings with topic names of the test's own, and the topics created."""

    async def create() -> None:
        async with admin(bare_settings) as client:
            await create_topics(client, topic_contracts(bare_settings))

    asyncio.run(create())
    return bare_settings


@pytest.fixture
def free_port() -> int:
    """A port of 127.0.0.1 on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _docker_answers() -> bool:
    try:
        import docker

        client = docker.from_env(timeout=2)
        try:
            return bool(client.ping())
        finally:
            client.close()
    except Exception:  # whatever docker raises where no engine is: then there is none
        return False
