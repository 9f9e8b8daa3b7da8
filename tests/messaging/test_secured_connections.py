"""Clients that log in to a real Kafka: each way succeeds, and what is wrong is told in one line."""

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from messaging.clients import admin, connected, new_consumer, new_producer
from messaging.contracts import TopicContract
from messaging.topics import create_topics, existing_topics
from schemas.errors import BrokerError
from tests.messaging.secured_listeners import SECRET, SESSION_SECONDS, Listeners, secured_listeners

pytestmark = pytest.mark.kafka


@pytest.fixture(scope="module")
def listeners(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listeners]:
    with secured_listeners(tmp_path_factory.mktemp("secured")) as found:
        yield found


@pytest.mark.parametrize("listener", ["LOGIN", "TLS", "MTLS", "LOGINTLS", "OAUTH"])
async def test_each_way_to_log_in(listeners: Listeners, listener: str) -> None:
    async with admin(listeners.settings(listener)) as client:
        await existing_topics(client)


URL = "http://127.0.0.1:9/token"
REFUSED: list[tuple[str, dict[str, Any], str]] = [
    (
        "LOGIN",
        {"sasl_password": "wrong"},
        "refuses user 'shop' by PLAIN: check NEXTCLICK_SASL_USERNAME and NEXTCLICK_SA",
    ),
    ("LOGIN", {"sasl_mechanism": "SCRAM-SHA-512"}, "asks for SASL (PLAIN), and NEXTCLICK_SASL_MECHANISM is SCRAM-SHA-"),
    ("LOGINTLS", {"sasl_password": "wrong"}, "refuses user 'shop' by PLAIN"),
    (
        "LOGINTLS",
        {"security_protocol": "SASL_PLAINTEXT"},
        "asks for TLS and SASL (PLAIN), and NEXTCLICK_SECURITY_PROTOCOL is SASL_PLAINTEXT: set it to SASL_SSL",
    ),
    ("TLS", {"ssl_cafile": None}, "is not accepted (unable to get local issuer certificate): set NEXTCLICK_SSL_CAFILE"),
    ("TLS", {"ssl_cafile": "other"}, "set NEXTCLICK_SSL_CAFILE to the file of the authority that signed it"),
    (
        "PLAINTEXT",
        {"security_protocol": "SSL"},
        "asks for neither TLS nor a login, and NEXTCLICK_SECURITY_PROTOCOL is SSL: set it to PLAINTEXT",
    ),
    ("MTLS", {"ssl_certfile": None}, "certificate required): NEXTCLICK_SSL_CERTFILE is not set"),
    ("OTHERHOST", {}, "use the host name of the certificate in NEXTCLICK_BROKER"),
    ("EXPIRED", {}, "is not accepted (certificate has expired): renew the broker's certificate"),
    (
        "OAUTH",
        {"sasl_oauthbearer_client_secret": "wrong"},
        "refuses client 'shop' (invalid_client): check NEXTCLICK_SA",
    ),
    ("OAUTH", {"sasl_oauthbearer_token_endpoint_url": URL}, f"the identity provider at {URL} gives no token"),
]


@pytest.mark.parametrize(("listener", "changed", "said"), REFUSED)
async def test_what_is_wrong_is_told_in_one_line(
    listeners: Listeners, listener: str, changed: dict[str, Any], said: str
) -> None:
    if changed.get("ssl_cafile") == "other":
        changed = {"ssl_cafile": str(listeners.certificates.other_ca)}
    with pytest.raises(BrokerError) as failure:
        async with admin(listeners.settings(listener, **changed)) as client:
            await existing_topics(client)
    assert said in str(failure.value)
    assert "\n" not in str(failure.value)
    assert "wrong" not in str(failure.value)
    assert SECRET not in str(failure.value)


async def test_the_name_of_the_host_need_not_be_checked(listeners: Listeners) -> None:
    async with admin(listeners.settings("OTHERHOST", ssl_check_hostname=False)) as client:
        await existing_topics(client)


async def send_and_read(listeners: Listeners, topic: str, seconds: float, **settings: Any) -> list[int]:
    """Send a number every 20 ms for a while; what a consumer in a group reads meanwhile."""
    deployment = listeners.settings(**settings)
    async with admin(deployment) as client:
        await create_topics(client, [TopicContract(topic, 1, 1)])
    read: list[int] = []

    async def consume(consumer: Any) -> None:
        while True:
            for records in (await consumer.getmany(timeout_ms=200)).values():
                read.extend(int(record.value) for record in records)

    group = {"group_id": topic, "session_timeout_ms": 30_000, "heartbeat_interval_ms": 500}
    async with (
        connected(new_producer(deployment, "test", enable_idempotence=True), deployment) as producer,
        connected(new_consumer(deployment, "test", **group), deployment) as consumer,
    ):
        logging.getLogger("aiokafka").setLevel(logging.WARNING)  # `connected` silences it
        consumer.subscribe([topic])
        reading = asyncio.create_task(consume(consumer))
        count = round(seconds / 0.02)
        async with asyncio.timeout(2 * seconds + 20):
            for number in range(count):
                await producer.send_and_wait(topic, str(number).encode())
                await asyncio.sleep(0.02)
            while len(read) < count:
                await asyncio.sleep(0.05)
        reading.cancel()
    assert read == list(range(count))
    return read


@pytest.mark.slow
@pytest.mark.parametrize("listener", ["OAUTH", "LOGINTLS"])
async def test_a_login_that_expires_costs_no_request(
    listeners: Listeners, listener: str, caplog: pytest.LogCaptureFixture
) -> None:
    tokens = listeners.tokens.given
    await send_and_read(listeners, f"expires-{listener}", 2.5 * SESSION_SECONDS, listener=listener)
    assert [line for record in caplog.records if "onnection" in (line := record.getMessage())] == []
    if listener == "OAUTH":
        assert 3 <= listeners.tokens.given - tokens < 20  # the clients of a process share a token


@pytest.mark.slow
async def test_a_password_that_is_wrong_for_a_while_stops_nothing(listeners: Listeners, tmp_path: Path) -> None:
    """Connections are renewed every few seconds: the wrong password is tried, and the mended one is taken."""
    password = tmp_path / "password"
    password.write_text("secret\n")

    async def change() -> None:
        await asyncio.sleep(2)
        password.write_text("wrong")
        await asyncio.sleep(1.5 * SESSION_SECONDS)
        password.write_text("secret")

    changing = asyncio.create_task(change())
    await send_and_read(
        listeners, "mended", 3 * SESSION_SECONDS, listener="LOGIN", sasl_password=None, sasl_password_file=password
    )
    await changing


@pytest.mark.slow
async def test_a_client_certificate_is_replaced_before_it_ends(listeners: Listeners, tmp_path: Path) -> None:
    """All connections are cut after the end of the old certificate: the next ones use the new one."""
    certificate, old, life = tmp_path / "client.pem", tmp_path / "old.pem", 4.0
    listeners.certificates.write_client(certificate, life)
    old.write_bytes(certificate.read_bytes())

    async def replace() -> None:
        await asyncio.sleep(life / 2)
        listeners.certificates.write_client(certificate, 3600)
        await asyncio.sleep(life / 2 + 1)
        listeners.proxy.cut()

    replacing = asyncio.create_task(replace())
    await send_and_read(listeners, "replaced", 2 * life, listener="MTLS", ssl_certfile=str(certificate))
    await replacing
    with pytest.raises(BrokerError, match="certificate"):
        async with admin(listeners.settings("MTLS", ssl_certfile=str(old))):
            pass


async def test_no_secret_is_logged(listeners: Listeners, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        for listener in ("LOGIN", "OAUTH"):
            settings = listeners.settings(listener)
            client = new_consumer(settings, "test")
            async with connected(client, settings):
                logging.getLogger("aiokafka").setLevel(logging.DEBUG)
                await client.topics()
            await asyncio.sleep(0)
    text = "\n".join(str(record.args) + record.getMessage() for record in caplog.records)
    assert "ApiVersionRequest" in text or "Metadata" in text
    for secret in ("secret", SECRET, "eyJhbGciOiAibm9uZSJ9"):
        assert secret not in text
