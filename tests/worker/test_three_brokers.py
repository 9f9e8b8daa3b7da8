"""A worker on three brokers (3 copies, 2 written) while brokers stop, die, lose each other, or the quorum.

Every test prints what the worker said and how long clicks waited: `pytest -m 'long or not long' -s`.
"""

import asyncio
import contextlib
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.conn import create_conn
from aiokafka.protocol.metadata import MetadataRequest
from typing_extensions import override

from messaging.clients import admin
from messaging.contracts import topic_contracts
from messaging.topics import create_topics
from nextclick.broker import LocalCluster
from nextclick.broker.cluster import ClusterNode
from schemas.settings import Settings
from tests.worker.deployment import Deployment, WorkerProcess, clicks_of, health
from tests.worker.node_network import NodeNetwork
from tests.worker.test_delivery import assert_undisturbed

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.slow,
    pytest.mark.xdist_group("three brokers"),
    pytest.mark.usefixtures("compiled_scorer"),
    pytest.mark.timeout(600),
]

RATE = 400
AWAY_SECONDS = 15.0
"""How long a fault lasts: longer than a broker's session and a worker's first tries."""


class SafeDeployment(Deployment):
    """Its clicks are sent so that each arrives once, whatever the brokers do."""

    @override
    def send_raw(self, messages: Sequence[tuple[bytes | None, bytes | None]], rate: float | None = None) -> None:
        async def send() -> None:
            producer = AIOKafkaProducer(
                bootstrap_servers=self.settings.brokers,
                enable_idempotence=True,
                linger_ms=2,
                request_timeout_ms=120_000,
                metadata_max_age_ms=2000,
                max_batch_size=900_000,  # so that clicks of other partitions go on while one partition's wait
            )
            await producer.start()
            begin = time.monotonic()
            sent = []
            for place, (key, value) in enumerate(messages):
                if rate is not None and (ahead := begin + place / rate - time.monotonic()) > 0.01:
                    await asyncio.sleep(ahead)
                sent.append(await producer.send(self.settings.clicks_topic, value, key=key))
            await asyncio.gather(*sent)
            await producer.stop()

        asyncio.run(send())


@dataclass
class Watch:
    """Asks for /health twice a second while the block runs."""

    port: int
    statuses: list[int] = field(default_factory=list)

    def __enter__(self) -> "Watch":
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _ask(self) -> None:
        while not self._over.wait(0.5):
            self.statuses.append(health(self.port))


@pytest.fixture(scope="module")
def network() -> Iterator[NodeNetwork]:
    network = NodeNetwork()
    network.cluster = LocalCluster(nodes=3, route=network.route)
    network.cluster.start()
    yield network
    network.cluster.stop()
    network.close()


@pytest.fixture
def cluster(network: NodeNetwork) -> LocalCluster:
    return network.cluster


@pytest.fixture
def deployment(cluster: LocalCluster, tmp_path: Path) -> Iterator[SafeDeployment]:
    mark = uuid.uuid4().hex[:8]
    settings = Settings(
        _env_file=None,
        broker=cluster.address,
        app_id=f"t-{mark}",
        clicks_topic=f"t-{mark}-clicks",
        recommendations_topic=f"t-{mark}-recommendations",
        models_topic=f"t-{mark}-models",
        rejected_topic=f"t-{mark}-rejected",
        partitions=6,
        replication=3,
        models_uri=str(tmp_path / "models"),
    )

    async def create() -> None:
        async with admin(settings) as client:
            await create_topics(client, topic_contracts(settings))

    asyncio.run(create())
    deployment = SafeDeployment(settings, tmp_path)
    yield deployment
    deployment.close()


def leader_of(cluster: LocalCluster, topic: str, seen_by: ClusterNode) -> ClusterNode:
    """The node that leads the topic's first partition, as one of the nodes sees it."""

    async def ask() -> int:
        connection = await create_conn("127.0.0.1", seen_by.port)
        response = await connection.send(MetadataRequest([topic]))
        connection.close()
        ((*_, partitions),) = response.topics
        return int(next(leader for _, number, leader, *_ in partitions if number == 0))

    number = asyncio.run(ask())
    return next(node for node in cluster.brokers if node.number == number)


def controller_of(cluster: LocalCluster) -> ClusterNode:
    """The node that leads the quorum: the last one that said so."""
    said = {node.number: _last_leadership(node) for node in cluster.brokers}
    return max(cluster.brokers, key=lambda node: said[node.number])


def _last_leadership(node: ClusterNode) -> str:
    lines = [line for line in node.log.read_text().splitlines() if "Becoming the active controller at epoch" in line]
    return lines[-1][:23] if lines else ""


@contextlib.contextmanager
def clicks_flow(deployment: SafeDeployment, port: int, sessions: int) -> Iterator[WorkerProcess]:
    """A worker answers 20 clicks of each session at `RATE`; at the end all is as in an undisturbed run.

    Prints what was seen from outside.
    """
    deployment.publish()
    worker = deployment.start(web=True, NEXTCLICK_WEB_PORT=str(port))
    deployment.wait_until(lambda: "model v1 is ready" in worker.said, "the model", 120)
    clicks = clicks_of(sessions, 20)
    with Watch(port) as watch:
        with deployment.flowing(clicks, RATE):
            deployment.wait_for_answers(len(clicks) // 8, 120)
            yield worker
        deployment.wait_until_all_answered(120)
        last = len(watch.statuses)
    assert_undisturbed(deployment, duplicates_allowed=True)
    outcome = deployment.outcome()
    assert len(outcome.clicks) == len(clicks)
    assert worker.alive
    pauses = {
        name: _longest_pause([message.timestamp for message in deployment.read(topic)])
        for name, topic in {
            "click": deployment.settings.clicks_topic,
            "answer": deployment.settings.recommendations_topic,
        }.items()
    }
    print(f"\n{len(clicks)} clicks, 0 missing, 0 differing, {outcome.duplicates} duplicates")
    print(", ".join(f"longest time without any {name}: {seconds:.1f} s" for name, seconds in pauses.items()))
    print(f"/health: {_runs(watch.statuses[:last])}")
    print("\n".join(line for line in worker.said.splitlines() if " worker." in line))


def _longest_pause(times_ms: list[int]) -> float:
    return max(after - before for before, after in pairwise(sorted(times_ms))) / 1000


def _runs(statuses: list[int]) -> str:
    """200 × 5, 503 × 2, …"""
    runs: list[tuple[int, int]] = []
    for status in statuses:
        if runs and runs[-1][0] == status:
            runs[-1] = status, runs[-1][1] + 1
        else:
            runs.append((status, 1))
    return ", ".join(f"{status} × {count}" for status, count in runs)


def test_the_leader_of_a_partition_is_killed(deployment: SafeDeployment, cluster: LocalCluster, free_port: int) -> None:
    with clicks_flow(deployment, free_port, 300):
        leader = leader_of(cluster, deployment.settings.clicks_topic, cluster.brokers[0])
        leader.kill()
        time.sleep(AWAY_SECONDS)
        leader.start()


@pytest.mark.long
def test_brokers_are_restarted_one_after_the_other(
    deployment: SafeDeployment, cluster: LocalCluster, free_port: int
) -> None:
    with clicks_flow(deployment, free_port, 1000):
        for node in cluster.brokers:
            node.stop()
            node.start()
            time.sleep(3)


@pytest.mark.long
def test_the_controller_is_killed(deployment: SafeDeployment, cluster: LocalCluster, free_port: int) -> None:
    with clicks_flow(deployment, free_port, 1000):
        controller = controller_of(cluster)
        controller.kill()
        time.sleep(AWAY_SECONDS)
        controller.start()
        assert controller_of(cluster) is not controller


@pytest.mark.long
def test_two_of_three_brokers_are_down_and_come_back(
    deployment: SafeDeployment, cluster: LocalCluster, free_port: int
) -> None:
    with clicks_flow(deployment, free_port, 1000):
        for node in cluster.brokers[:2]:
            node.kill()
        time.sleep(AWAY_SECONDS)
        for node in cluster.brokers[:2]:
            node.start()


@pytest.mark.long
def test_one_broker_is_cut_off_from_the_others_but_not_from_the_worker(
    deployment: SafeDeployment, network: NodeNetwork, free_port: int
) -> None:
    with clicks_flow(deployment, free_port, 1000):
        cluster, topic = network.cluster, deployment.settings.clicks_topic
        alone = leader_of(cluster, topic, cluster.brokers[0])
        other = next(node for node in cluster.brokers if node is not alone)
        network.isolate(alone)
        try:
            time.sleep(2 * AWAY_SECONDS)
            assert leader_of(cluster, topic, other) is not alone  # the others went on without it
            assert leader_of(cluster, topic, alone) is alone  # and it does not know
        finally:
            network.heal()
