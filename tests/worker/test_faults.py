"""Faults around the worker: broker, network, disk, invalid clicks and bad bundles."""

import asyncio
import hashlib
import json
import os
import resource
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
import rocksdict
from aiokafka import AIOKafkaProducer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from messaging.clients import admin
from messaging.contracts import topic_contracts
from messaging.topics import create_topics
from nextclick.broker import LocalBroker
from rankers.bundle_files import DIGEST, read_digest
from schemas.announcement import ModelAnnouncement
from schemas.settings import Settings
from tests.proxy import Proxy
from tests.worker.deployment import START, Deployment, bundle, clicks_of
from tests.worker.test_delivery import RATE, assert_undisturbed

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.slow,
    pytest.mark.xdist_group("deployments"),
    pytest.mark.usefixtures("compiled_scorer"),
]


def with_topics(settings: Settings) -> Settings:
    async def create() -> None:
        async with admin(settings) as client:
            await create_topics(client, topic_contracts(settings))

    asyncio.run(create())
    return settings


def test_a_broker_that_dies_and_comes_back_loses_nothing(tmp_path: Path) -> None:
    with LocalBroker(data=tmp_path / "kafka") as broker:
        settings = with_topics(
            Settings(_env_file=None, broker=broker.address, partitions=4, models_uri=str(tmp_path / "models"))
        )
        deployment = Deployment(settings, tmp_path)
        try:
            deployment.publish()
            worker = deployment.start()
            with deployment.flowing(clicks_of(300, 20), RATE):
                deployment.wait_for_answers(1000)
                broker.kill()
                time.sleep(10)
                broker.start()
            assert_undisturbed(deployment, duplicates_allowed=True)
            assert worker.alive
        finally:
            deployment.close()


def test_connections_that_are_cut_and_stalled_lose_nothing(tmp_path: Path, free_port: int) -> None:
    advertised = {"advertised.listeners": f"PLAINTEXT://127.0.0.1:{free_port}"}
    with LocalBroker(data=tmp_path / "kafka", properties=advertised) as behind:
        proxy = Proxy(free_port, behind.port)
        settings = with_topics(
            Settings(
                _env_file=None,
                broker=f"127.0.0.1:{free_port}",
                partitions=4,
                models_uri=str(tmp_path / "models"),
                group_timeout="6s",
            )
        )
        deployment = Deployment(settings, tmp_path)
        try:
            deployment.publish()
            worker = deployment.start()
            with deployment.flowing(clicks_of(300, 20), RATE):
                for answers in (500, 1500, 2500):
                    deployment.wait_for_answers(answers)
                    proxy.cut()
                deployment.wait_for_answers(3000)
                proxy.stall()
                time.sleep(8)
                proxy.resume()
            assert_undisturbed(deployment, duplicates_allowed=True)
            assert worker.alive
        finally:
            deployment.close()
            proxy.close()


def invalid_messages() -> st.SearchStrategy[tuple[bytes | None, bytes | None]]:
    """Pairs of key and value that are not valid clicks."""
    key = st.one_of(st.none(), st.binary(max_size=20), st.just(b"s"))
    odd = st.one_of(
        st.none(), st.booleans(), st.floats(), st.just([]), st.just({}), st.just(""), st.integers(max_value=-1),
        st.integers(min_value=2**63), st.text(min_size=257, max_size=300), st.just(-1.5),
    )  # fmt: skip
    good = {"session_id": "s", "item_id": 1, "timestamp": START}
    broken = st.tuples(st.sampled_from(sorted(good)), odd).map(lambda change: good | {change[0]: change[1]})
    lacking = st.sampled_from(sorted(good)).map(lambda name: {k: v for k, v in good.items() if k != name})
    times = st.sampled_from(["yesterday", "1700000000000", "", int(time.time() * 1000) + 10 * 86_400_000])
    untimely = times.map(lambda moment: good | {"timestamp": moment})
    text = st.one_of(
        st.binary(max_size=200),
        st.sampled_from(
            [
                b"", b"null", b"[" * 5000, b'{"a":' * 5000, b"\xff\xfe",
                b'{"session_id":"s","item_id":NaN,"timestamp":1}',
                b'{"session_id":"s","item_id":"\\ud800","timestamp":1}', b'{"session_id":"\\udfff"}', b"x" * 900_000,
                b'{"session_id":"s","item_id":1,"timestamp":1' + b" " * 900_000,
            ]
        ),
    )  # fmt: skip
    documents = st.one_of(broken, lacking, untimely).filter(
        lambda document: (
            not (
                isinstance(document.get("item_id"), int)
                and not isinstance(document.get("item_id"), bool)
                and -(2**63) <= document["item_id"] < 0
            )
        )
    )
    value = st.one_of(documents.map(lambda document: json.dumps(document).encode()), text)
    other_key = st.tuples(key.filter(lambda key: key != b"s"), st.just(json.dumps(good).encode()))
    return st.one_of(st.tuples(st.just(b"s"), value), other_key, st.tuples(st.just(b"s"), st.none()))


def test_what_is_no_click_is_rejected_with_a_reason_and_harms_nothing(deployment: Deployment) -> None:
    deployment.publish()
    worker = deployment.start()
    good = [
        (session.encode(), msgspec.json.encode({"session_id": session, "item_id": item, "timestamp": moment}))
        for session, item, moment in clicks_of(50, 10)
    ]
    bad: list[tuple[bytes | None, bytes | None]] = []

    @settings(max_examples=250, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(invalid_messages())
    def collect(message: tuple[bytes | None, bytes | None]) -> None:
        bad.append(message)

    collect()
    mixed = [message for pair in zip(good, bad, strict=False) for message in pair] + good[len(bad) :] + bad[len(good) :]
    deployment.send_raw(mixed)
    assert_undisturbed(deployment, duplicates_allowed=False)
    assert worker.alive
    outcome = deployment.outcome()
    assert len(outcome.answers) == len(good)
    assert sum(outcome.rejected.values()) == len(outcome.rejected) == len(bad)
    for message in deployment.read(deployment.settings.rejected_topic):
        assert message.headers["reason"]
        assert message.headers["topic"].decode() == deployment.settings.clicks_topic
        click = outcome.clicks[f"{message.headers['partition'].decode()}-{message.headers['offset'].decode()}"]
        assert (message.key, message.value) == (click.key, click.value)


def announce(deployment: Deployment, version: str, path: Path, **changes: str) -> None:
    announcement = ModelAnnouncement(
        name=deployment.settings.model_name,
        version=version,
        uri=changes.get("uri", str(path)),
        sha256=changes.get("sha256", read_digest(path)),
        announced_at=datetime.now(UTC),
    )

    async def send() -> None:
        producer = AIOKafkaProducer(bootstrap_servers=deployment.settings.brokers)
        await producer.start()
        await producer.send_and_wait(
            deployment.settings.models_topic,
            announcement.model_dump_json().encode(),
            key=deployment.settings.model_name.encode(),
        )
        await producer.stop()

    asyncio.run(send())


def truncated(path: Path) -> None:
    weights = path / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def altered(path: Path) -> None:
    items = path / "items.json"
    items.write_text(items.read_text().replace("17", "18", 1))


def of_another_format(path: Path) -> None:
    rewrite(path, lambda about: about | {"format": 99})


def of_wrong_dimensions(path: Path) -> None:
    rewrite(path, lambda about: about | {"config": about["config"] | {"hidden": 64}})


def rewrite(path: Path, change: object) -> None:
    """Change bundle.json and update the digest, so that only the content is wrong."""
    about = path / "bundle.json"
    about.write_text(json.dumps(change(json.loads(about.read_text()))))  # type: ignore[operator]
    (path / DIGEST).write_text(hashlib.sha256(about.read_bytes()).hexdigest() + "\n")


def hanging(path: Path) -> None:
    (path / "weights.safetensors").unlink()
    os.mkfifo(path / "weights.safetensors")


def test_a_bad_bundle_is_refused_and_the_old_model_serves_on(deployment: Deployment) -> None:
    deployment.publish()
    worker = deployment.start(NEXTCLICK_FETCH_TIMEOUT="3s")
    deployment.wait_until(lambda: "model v1 is ready" in worker.said, "the first model")
    for fault in (truncated, altered, of_another_format, of_wrong_dimensions, hanging):
        name = fault.__name__
        path = bundle(Path(deployment.settings.models_uri) / name, name, seed=3)
        fault(path)
        announce(deployment, name, path)
        deployment.wait_until(lambda name=name: f"model {name} refused, " in worker.said, f"a refusal: {name}")
    outside = bundle(deployment.directory / "elsewhere", "outside", seed=3)
    announce(deployment, "outside", outside)
    deployment.wait_until(lambda: "model outside refused, " in worker.said, "a refusal: outside")
    announce(deployment, "sneaky", outside, uri=f"{deployment.settings.models_uri}/../elsewhere")
    deployment.wait_until(lambda: "model sneaky refused, " in worker.said, "a refusal: ..")
    assert worker.said.count(" refused, ") == 7
    assert "Traceback" not in worker.said
    deployment.send(clicks_of(20, 5))
    assert_undisturbed(deployment, duplicates_allowed=False)
    worker.kill()
    again = deployment.start()
    deployment.send(clicks_of(20, 5, seed=1))
    assert_undisturbed(deployment, duplicates_allowed=True)
    assert "model v1 is ready" in again.said
    shutil.rmtree(Path(deployment.settings.models_uri) / "hanging")


def test_a_full_disk_stops_the_worker_with_one_line_and_nothing_is_lost(deployment: Deployment) -> None:
    deployment.publish()
    deployment.send(clicks_of(2000, 5))
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (250_000, limit[1]))  # inherited: RocksDB cannot write beyond it
    try:
        worker = deployment.start(NEXTCLICK_MAX_BATCH="256")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    deployment.wait_until(lambda: not worker.alive, "the stop")
    assert worker.process.returncode == 1
    assert "make room on the disk" in worker.said.splitlines()[-1]
    assert "Traceback" not in worker.said
    deployment.start()
    assert_undisturbed(deployment, duplicates_allowed=True)


def test_disk_and_changelog_stay_bounded_by_the_live_sessions(tmp_path: Path) -> None:
    properties = {
        "log.retention.check.interval.ms": "500",
        "log.initial.task.delay.ms": "500",
        "log.segment.delete.delay.ms": "0",
    }
    with LocalBroker(data=tmp_path / "kafka", properties=properties) as broker:
        given = Settings(
            _env_file=None,
            broker=broker.address,
            partitions=2,
            session_life="4s",
            models_uri=str(tmp_path / "models"),
        )
        deployment = Deployment(with_topics(given), tmp_path)
        try:
            deployment.publish()
            worker = deployment.start()
            for wave in range(6):
                deployment.send(clicks_of(400, 1, seed=wave))
                deployment.wait_for_answers(400 * (wave + 1))
                time.sleep(2)
            deployment.send(clicks_of(10, 1, seed=99))
            deployment.wait_until(lambda: len(deployment.states()) < 1000, "old states to leave the changelog")
            deployment.wait_until_all_answered()
            assert worker.stop() == 0
            assert stored_sessions(tmp_path / "w1") < 1000
        finally:
            deployment.close()


def stored_sessions(data: Path) -> int:
    """Sessions in the RocksDB of a worker that is not running."""
    databases = list((data / "worker" / "v1" / "tables").glob("sessions-*.db"))
    assert databases
    return sum(len(list(rocksdict.Rdict(str(path), rocksdict.Options(raw_mode=True)).keys())) - 3 for path in databases)
