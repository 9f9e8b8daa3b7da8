"""On a Kafka that asks for TLS, a login and rights: a newcomer's way, each program's rights, tokens that end."""

import asyncio
import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest
from aiokafka.admin import AIOKafkaAdminClient

from messaging.clients import admin, connected, new_consumer
from messaging.contracts import TopicContract
from messaging.topics import create_topics
from nextclick.broker import LocalBroker, Security
from nextclick.doctor.finding import Level
from nextclick.doctor.roles import Role
from schemas.settings import PREFIX, Settings
from tests.nextclick.doctor.examined import findings
from tests.secured import allow, client_options
from tests.topics import create_with_brokers_times
from tests.worker.deployment import ROOT, Deployment, clicks_of
from tests.worker.test_delivery import assert_undisturbed
from tests.worker.test_kafka_trouble import not_in_trouble

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.slow,
    pytest.mark.xdist_group("secured"),
    pytest.mark.usefixtures("compiled_scorer"),
]

DOCS = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
ROLES = ("topics", "worker", "trainer", "archiver", "rekey", "shop", "reader")
NEXTCLICK = [sys.executable, "-c", "from nextclick.cli import main; main()"]


def documented(title: str) -> list[str]:
    """The lines of a block of commands in the docs."""
    found = re.search(rf"<!-- {title} -->\n```bash\n(.*?)```", DOCS, re.DOTALL)
    assert found is not None
    return [line for line in found[1].splitlines() if not line.startswith("#")]


def environment(properties: Path, broker: str, **more: str) -> dict[str, str]:
    names = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    return names | {"NEXTCLICK_KAFKA_CONFIG": str(properties), "NEXTCLICK_BROKER": broker, "COLUMNS": "200"} | more


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalBroker]:
    """Denies what no ACL allows; each role of the docs is a user with exactly the rights of the docs."""
    security = Security(tls=True, sasl="scram", acl=True, users=ROLES)
    with LocalBroker(data=tmp_path_factory.mktemp("secured") / "kafka", security=security) as broker:
        asyncio.run(_grant(broker))
        yield broker


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the programs run: the models URI and the archive are below it, and the announced model stays there."""
    return tmp_path_factory.mktemp("shop")


async def _grant(broker: LocalBroker) -> None:
    client = AIOKafkaAdminClient(**client_options(broker))
    await client.start()
    try:
        for line in documented("least privilege"):
            words = shlex.split(line)
            given = dict(pairwise(words))
            operations = [value for name, value in pairwise(words) if name == "--operation"]
            snake = [re.sub(r"(?<!^)(?=[A-Z])", "_", operation).lower() for operation in operations]
            (resource,) = given.keys() & {"--topic", "--group", "--transactional-id"}
            await allow(
                client,
                given["--allow-principal"].removeprefix("User:"),
                snake,
                resource.removeprefix("--").replace("-", "_"),
                given[resource],
                given.get("--resource-pattern-type", "literal"),
            )
    finally:
        await client.close()


def run(broker: LocalBroker, folder: Path, user: str, *command: str, seconds: float = 120) -> str:
    """Run a command as a user of the broker; it must succeed."""
    properties = broker.access.properties_file_of(user)
    done = subprocess.run(
        [*NEXTCLICK, *command],
        cwd=folder,
        env=environment(properties, broker.address, OMP_NUM_THREADS="1"),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, f"{user}: {command}: {done.stderr[-2000:]}"
    return done.stdout


def settings_of(broker: LocalBroker, folder: Path, user: str) -> Settings:
    return Settings(
        _env_file=None,
        broker=broker.address,
        kafka_config=broker.access.properties_file_of(user),
        models_uri=str(folder / ".nextclick" / "models"),
    )


def file_of_clicks(path: Path, sessions: int) -> Path:
    rows = [(session, item, moment) for session, item, moment in clicks_of(sessions, 5)]
    pl.DataFrame(rows, ["session_id", "item_id", "timestamp"], orient="row").write_csv(path)
    return path


@pytest.mark.timeout(600)
def test_each_program_works_with_exactly_the_rights_that_the_docs_name(broker: LocalBroker, folder: Path) -> None:
    clicks = file_of_clicks(folder / "clicks.csv", 300)
    run(broker, folder, "topics", "topics")
    run(broker, folder, "topics", "topics")  # all of them exist
    run(broker, folder, "trainer", "train", "--clicks", str(clicks), "--epochs", "1", "--hidden", "8", "--publish")
    deployment = Deployment(settings_of(broker, folder, "worker"), folder)
    worker = deployment.start()
    try:
        run(broker, folder, "shop", "produce", str(clicks))
        reader = settings_of(broker, folder, "reader")
        assert asyncio.run(_read(reader, 1500)) == 1500
        run(broker, folder, "archiver", "archive", "--once")
        _follow_for_a_moment(broker, folder)
        assert pl.read_parquet(folder / ".nextclick" / "archive" / "**" / "*.parquet").height == 1500
        run(broker, folder, "trainer", "train", "--clicks", "kafka", "--epochs", "1", "--hidden", "8")
        run(broker, folder, "trainer", "models")
        assert worker.stop() == 0
        assert "trouble" not in worker.said.partition("recovered:")[2].replace("the trouble lasted", ""), worker.said
    finally:
        deployment.close()


@pytest.mark.parametrize(
    ("role", "user"),
    [
        *((role, role.value) for role in (Role.WORKER, Role.TRAINER, Role.ARCHIVER, Role.READER)),
        (Role.PRODUCER, "shop"),
    ],
)
def test_the_doctor_finds_no_error_under_exactly_the_rights_that_the_docs_name(
    broker: LocalBroker, folder: Path, monkeypatch: pytest.MonkeyPatch, role: Role, user: str
) -> None:
    monkeypatch.chdir(folder)
    run(broker, folder, "topics", "topics")
    found = findings(settings_of(broker, folder, user), role)
    assert [finding for finding in found if finding.level is Level.ERROR] == []
    assert ({"group", "changelog"} <= {finding.check for finding in found}) == (role is Role.WORKER)


def test_rekey_copies_with_exactly_the_rights_that_the_docs_name(broker: LocalBroker, folder: Path) -> None:
    run(broker, folder, "topics", "topics")
    targets = settings_of(broker, folder, "admin")
    asyncio.run(_create_page_views(targets))
    source = Deployment(targets.model_copy(update={"clicks_topic": "page-views"}), folder)
    for session in ("rekeyed-1", "rekeyed-2"):  # the second run goes on where the first one ended
        click = {"session_id": session, "item_id": 1}
        source.send_raw([(b"a page", json.dumps(click).encode()), (b"a page", b"no click")])
        run(broker, folder, "rekey", "rekey", "--from", "page-views", "--until-end")
    keys = [message.key for message in source.read(targets.clicks_topic)]
    assert sorted(key for key in keys if key in (b"rekeyed-1", b"rekeyed-2")) == [b"rekeyed-1", b"rekeyed-2"]
    refused = [message.headers["topic"] for message in source.read(targets.rejected_topic)]
    assert refused.count(b"page-views") == 2


async def _create_page_views(settings: Settings) -> None:
    async with admin(settings) as client:
        await create_topics(client, [TopicContract("page-views", 2, 1)])


async def _read(settings: Settings, count: int) -> int:
    consumer = new_consumer(settings, "test", group_id="recommendations-readers")
    async with connected(consumer, settings), asyncio.timeout(90):
        consumer.subscribe([settings.recommendations_topic])
        read = 0
        while read < count:
            read += sum(map(len, (await consumer.getmany(timeout_ms=500)).values()))
    return read


def _follow_for_a_moment(broker: LocalBroker, folder: Path) -> None:
    """`nextclick archive` in its group, until it has joined."""
    log = folder / "archive.log"
    with log.open("w") as file:
        process = subprocess.Popen(
            [*NEXTCLICK, "archive"],
            cwd=folder,
            env=environment(broker.access.properties_file_of("archiver"), broker.address, PYTHONUNBUFFERED="1"),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        time.sleep(8)
        assert process.poll() is None, log.read_text()
    finally:
        process.terminate()
        process.wait(30)
    assert "denied" not in log.read_text(), log.read_text()


@pytest.mark.timeout(600)
def test_a_newcomers_way_from_client_properties_to_the_first_recommendation(tmp_path: Path) -> None:
    """The commands of the docs, one after the other, in a folder with `client.properties` and a file of clicks."""
    lines = documented("first recommendation")
    assert len(lines) - 1 <= 5
    with LocalBroker(data=tmp_path / "kafka", security=Security(tls=True, sasl="scram")) as broker:
        folder = tmp_path / "shop"
        folder.mkdir()
        (folder / "client.properties").write_text(broker.client_properties.read_text())
        file_of_clicks(folder / "clicks.csv", 600)
        script = "\n".join(["set -e", *lines[:-1], f"{lines[-1]} | head -n 1", "kill %1; wait"])
        names = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        names["PATH"] = f"{Path(sys.executable).parent}:{names['PATH']}"
        done = subprocess.run(
            ["bash", "-c", script], cwd=folder, env=names, capture_output=True, text=True, timeout=280, check=False
        )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "items" in done.stdout or "→" in done.stdout, done.stdout[-2000:]


@pytest.mark.timeout(600)
def test_a_token_that_ends_in_mid_run_costs_no_click(tmp_path: Path) -> None:
    security = Security(tls=True, sasl="oauthbearer", token_seconds=6)
    with LocalBroker(data=tmp_path / "kafka", security=security) as broker:
        settings = Settings(
            _env_file=None, broker=broker.address, kafka_config=broker.client_properties, partitions=4,
            models_uri=str(tmp_path / "models"),
        )  # fmt: skip

        asyncio.run(create_with_brokers_times(settings))
        deployment = Deployment(settings, tmp_path)
        try:
            deployment.publish()
            worker = deployment.start()
            deployment.send(clicks_of(150, 30), rate=150)  # 30 s: five tokens
            assert_undisturbed(deployment, duplicates_allowed=False)
            assert worker.stop() == 0
        finally:
            deployment.close()
    assert "trouble" not in worker.said.partition("recovered:")[2].replace("the trouble lasted", ""), worker.said


@pytest.mark.timeout(600)
def test_a_password_that_is_wrong_in_mid_run_is_one_warning_and_costs_no_click(tmp_path: Path) -> None:
    """The broker asks for a new login every few seconds; for a while the worker's file holds a wrong password."""
    session_seconds, password = 6, tmp_path / "password"
    properties = {"connections.max.reauth.ms": str(session_seconds * 1000)}
    with LocalBroker(data=tmp_path / "kafka", properties=properties, security=Security(sasl="scram")) as broker:
        settings = Settings(
            _env_file=None, broker=broker.address, kafka_config=broker.client_properties, partitions=4,
            models_uri=str(tmp_path / "models"),
        )  # fmt: skip
        asyncio.run(create_with_brokers_times(settings))
        password.write_text(broker.users["admin"])
        by_file = settings.model_copy(update={"sasl_password": None, "sasl_password_file": password})
        deployment, workers = Deployment(settings, tmp_path), Deployment(by_file, tmp_path)
        try:
            deployment.publish()
            worker = workers.start()
            workers.wait_until(lambda: "recovered:" in worker.said and "v1 is ready" in worker.said, "a start", 120)
            workers.wait_until(lambda: not_in_trouble(worker), "the end of the trouble of a first join", 30)
            before = len(worker.said)
            with deployment.flowing(clicks_of(150, 30), rate=150):  # 30 s
                deployment.wait_for_answers(150)
                password.write_text("wrong")
                workers.wait_until(lambda: "trouble with Kafka" in worker.said[before:], "trouble", 30)
                time.sleep(session_seconds)
                password.write_text(broker.users["admin"])
                workers.wait_until(lambda: "Kafka works again" in worker.said[before:], "its end", 60)
            assert_undisturbed(deployment, duplicates_allowed=False)
            assert worker.stop() == 0
        finally:
            workers.close()
            deployment.close()
    said = worker.said[before:]
    assert said.count(" WARNING ") + said.count(" ERROR ") == 2, said
    assert said.count("trouble with Kafka: ") == 1, said
