"""Brokers that clients cannot work with: the message names the cause. One broker with a listener for each cause."""

import asyncio
import socket
from collections.abc import Iterator

import pytest

from messaging.clients import admin
from messaging.diagnosis import why_no_broker
from messaging.topics import existing_topics
from modelregistry.models_topic import ModelsTopic
from nextclick.broker import LocalBroker
from schemas.errors import BrokerError
from schemas.settings import Settings
from tests import certificates
from tests.free_ports import free_ports
from tests.messaging.secured_listeners import keystore

NOWHERE = "broker-3.internal.invalid:9092"
LISTENERS = ("AWAY", "LOGIN", "TLS", "LOGINTLS")


@pytest.fixture(scope="module")
def listeners(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The address of each listener of a broker, by its name."""
    plain, control, *others = free_ports(2 + len(LISTENERS))
    address = {name: f"127.0.0.1:{port}" for name, port in zip(LISTENERS, others, strict=True)}
    named = {"PLAINTEXT": f"127.0.0.1:{plain}", "CONTROLLER": f"127.0.0.1:{control}"} | address
    folder = tmp_path_factory.mktemp("kafka")
    own = certificates.authority(folder / "authority").issue("broker", certificates.HOSTS)
    login = 'org.apache.kafka.common.security.plain.PlainLoginModule required user_shop="secret";'
    properties = (
        {
            "listeners": ",".join(f"{name}://{at}" for name, at in named.items()),
            "advertised.listeners": ",".join(f"{name}://{at}" for name, at in (named | {"AWAY": NOWHERE}).items()),
            "controller.quorum.bootstrap.servers": named["CONTROLLER"],
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,AWAY:PLAINTEXT,"
            "LOGIN:SASL_PLAINTEXT,TLS:SSL,LOGINTLS:SASL_SSL",
            "sasl.enabled.mechanisms": "PLAIN",
        }
        | keystore(own)
        | {f"listener.name.{name}.plain.sasl.jaas.config": login for name in ("login", "logintls")}
    )
    with LocalBroker(plain, folder / "data", properties):
        yield named


async def message(broker: str) -> str:
    """What a command says that lists topics at this address."""
    settings = Settings(_env_file=None, broker=broker)
    with pytest.raises(BrokerError) as failure:
        async with admin(settings) as client:
            await existing_topics(client)
    return str(failure.value)


async def test_an_advertised_address_that_cannot_be_reached(listeners: dict[str, str]) -> None:
    said = await message(listeners["AWAY"])
    assert said.startswith(f"Kafka answers at {listeners['AWAY']} and tells clients to use {NOWHERE} (")
    assert "this host name is not known here" in said
    assert "advertised.listeners" in said
    with pytest.raises(BrokerError, match=r"advertised\.listeners"):
        async with ModelsTopic(Settings(_env_file=None, broker=listeners["AWAY"])):
            pass


@pytest.mark.parametrize(
    ("listener", "asked", "protocol"),
    [
        ("LOGIN", "SASL (PLAIN)", "SASL_PLAINTEXT (or use a listener with TLS)"),
        ("TLS", "TLS", "SSL"),
        ("LOGINTLS", "TLS and SASL (PLAIN)", "SASL_SSL"),
    ],
)
async def test_a_listener_that_asks_for_more_than_plaintext(
    listeners: dict[str, str], listener: str, asked: str, protocol: str
) -> None:
    said = await message(listeners[listener])
    address = listeners[listener]
    assert said == (
        f"the listener at {address} asks for {asked}, and NEXTCLICK_SECURITY_PROTOCOL is PLAINTEXT: set it to "
        f"{protocol} (NEXTCLICK_BROKER={address})"
    )


async def test_a_listener_of_which_all_is_well(listeners: dict[str, str]) -> None:
    settings = Settings(_env_file=None, broker=listeners["PLAINTEXT"])
    async with admin(settings) as client:
        assert await existing_topics(client) == {}


async def test_the_other_bootstrap_servers_do_not_hide_the_cause(listeners: dict[str, str], free_port: int) -> None:
    said = await message(f"127.0.0.1:{free_port},{listeners['LOGIN']}")
    assert f"the listener at {listeners['LOGIN']} asks for SASL (PLAIN)" in said


async def test_something_else_that_listens_there() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        said = await message(f"127.0.0.1:{port}")
        assert f"127.0.0.1:{port} takes connections, but does not answer as Kafka does" in said


@pytest.mark.parametrize(
    ("broker", "reason"),
    [
        ("127.0.0.1:{port}", "no Kafka broker answers at 127.0.0.1:{port} (NEXTCLICK_BROKER): set it to"),
        (
            "kafka.nowhere.invalid:9092",
            "(NEXTCLICK_BROKER): kafka.nowhere.invalid:9092: this host name is not known here: set it to",
        ),
    ],
)
async def test_nothing_answers(broker: str, reason: str, free_port: int) -> None:
    assert reason.format(port=free_port) in await message(broker.format(port=free_port))


async def test_a_broker_that_is_silent_is_waited_for_only_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("messaging.diagnosis.ANSWER_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # the system accepts connections, nobody answers
        port = silent.getsockname()[1]
        said = str(await why_no_broker(Settings(_env_file=None, broker=f"127.0.0.1:{port}")))
        assert f"127.0.0.1:{port} takes connections, but does not answer as Kafka does" in said
