"""The secured local broker, seen by plain aiokafka clients: who gets in, and who may do what."""

import asyncio
import contextlib
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.conn import create_conn
from aiokafka.errors import KafkaConnectionError, TopicAuthorizationFailedError
from aiokafka.protocol.metadata import MetadataRequest

from nextclick.broker import LocalBroker, Security
from schemas.errors import BrokerError
from tests import certificates
from tests.secured import Service, allow, client_options

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.xdist_group("secured broker")]


@contextlib.asynccontextmanager
async def admin_of(broker: Service) -> AsyncIterator[AIOKafkaAdminClient]:
    client = AIOKafkaAdminClient(**client_options(broker))
    await client.start()
    yield client
    await client.close()


async def send(broker: Service, topic: str, user: str, **options: Any) -> None:
    producer = AIOKafkaProducer(**client_options(broker, user, **options), request_timeout_ms=5000)
    await producer.start()
    try:
        await producer.send_and_wait(topic, b"value")
    finally:
        await producer.stop()


async def make_topic(broker: Service, name: str) -> None:
    async with admin_of(broker) as admin:
        response = await admin.create_topics([NewTopic(name, 1, 1)])
        assert response.topic_errors[0][1] == 0, response


async def assert_only_allowed_users_write(broker: Service) -> None:
    """`writer` is allowed to write a topic after an ACL, `other` is not."""
    await make_topic(broker, "guarded")
    with pytest.raises(TopicAuthorizationFailedError):
        await send(broker, "guarded", "writer")
    async with admin_of(broker) as admin:
        await allow(admin, "writer", ["write", "describe"], "topic", "guarded")
    await send(broker, "guarded", "writer")
    with pytest.raises(TopicAuthorizationFailedError):
        await send(broker, "guarded", "other")


def assert_secrets_are_kept(broker: LocalBroker) -> None:
    """No password is in Kafka's log, and none in a file that others can read."""
    secrets = [*broker.users.values(), broker.access.node_password]
    assert not any(secret in broker.log.read_text() for secret in secrets)
    for path in broker.directory.rglob("*"):
        if path.is_file() and "topics" not in path.parts:
            content = path.read_bytes()
            if b"PRIVATE KEY" in content or any(secret.encode() in content for secret in secrets):
                assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


async def test_scram_over_tls_with_acls(tmp_path: Path) -> None:
    security = Security(tls=True, sasl="scram", acl=True, users=("writer",))
    data = tmp_path / "Käfka"
    with LocalBroker(data=data, security=security) as broker:
        broker.add_user("other")
        await assert_only_allowed_users_write(broker)
        await send(broker, "guarded", "writer", mechanism="SCRAM-SHA-256")
        with pytest.raises(KafkaConnectionError):
            await send(broker, "guarded", "writer", password="wrong")
        assert_secrets_are_kept(broker)
        passwords = dict(broker.users)
        broker.kill()
        await asyncio.to_thread(broker.start)
        await send(broker, "guarded", "writer")
    with LocalBroker(broker.port, data, security=security) as again:
        assert again.users == passwords
        await send(again, "guarded", "writer")


async def test_plain_without_tls(tmp_path: Path) -> None:
    security = Security(sasl="plain", acl=True, users=("writer", "other"))
    with LocalBroker(data=tmp_path / "kafka", security=security) as broker:
        await assert_only_allowed_users_write(broker)
        with pytest.raises(KafkaConnectionError):
            await send(broker, "guarded", "writer", password="wrong")
        with pytest.raises(BrokerError, match="name late in"):
            broker.add_user("late")
        assert_secrets_are_kept(broker)


async def test_client_certificates_name_the_user(tmp_path: Path) -> None:
    security = Security(tls=True, client_auth=True, acl=True, users=("writer", "other"))
    with LocalBroker(data=tmp_path / "kafka", security=security) as broker:
        await assert_only_allowed_users_write(broker)
        stranger = certificates.authority(tmp_path / "stranger").issue("writer")
        late = certificates.expired(certificates.authority(tmp_path / "kafka" / "security"), "writer")
        for name, certificate in {"stranger": stranger, "late": late}.items():
            files = certificates.certificate_and_key(certificate, tmp_path, name)
            with pytest.raises(KafkaConnectionError):
                await send(broker, "guarded", "writer", certificate=files)
        assert_secrets_are_kept(broker)


async def test_tokens_name_the_user_until_they_end(tmp_path: Path) -> None:
    security = Security(sasl="oauthbearer", acl=True, users=("writer", "other"), token_seconds=5)
    with LocalBroker(data=tmp_path / "kafka", security=security) as broker:
        await assert_only_allowed_users_write(broker)
        with pytest.raises(KafkaConnectionError):
            await send(broker, "guarded", "writer", password="wrong")
        assert_secrets_are_kept(broker)

        connection = await create_conn(*broker.address.split(":"), **connection_options(broker, "writer"))
        await connection.send(MetadataRequest([]))
        await asyncio.sleep(security.token_seconds + 1)
        with pytest.raises(KafkaConnectionError):
            await connection.send(MetadataRequest([]))


def connection_options(broker: Service, user: str) -> dict[str, Any]:
    return {name: value for name, value in client_options(broker, user).items() if name != "bootstrap_servers"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"sasl": "kerberos"}, "plain, scram, oauthbearer"),
        ({"client_auth": True}, "add --tls"),
        ({"acl": True}, "add --sasl scram"),
        ({"users": ("worker",)}, "add --sasl scram"),
        ({"tls": True, "users": ("../ca",)}, "'../ca' cannot be"),
        ({"tls": True, "users": ("broker",)}, "the brokers' own"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(BrokerError, match=said):
        Security(**options)
