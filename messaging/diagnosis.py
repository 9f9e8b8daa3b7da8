"""Why no client can work with the brokers of the settings, in one line.

A client that fails to connect only knows that it failed. This asks each bootstrap server step by step: does the name
resolve, does the port answer, is it Kafka, does it ask for TLS or SASL, and can the addresses that it advertises be
reached?
"""

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka.conn import AIOKafkaConnection, create_conn
from aiokafka.errors import IllegalSaslStateError, KafkaError
from aiokafka.protocol.admin import SaslHandShakeRequest
from aiokafka.protocol.metadata import MetadataRequest

from schemas.settings import Settings

ANSWER_SECONDS = 2.0
"""How long each step may take."""

REFUSED = "connection refused"

Address = tuple[str, int]


@dataclass(frozen=True)
class Diagnosis:
    """What is wrong with one bootstrap server, and how much is known about it.

    Attributes:
        reason: in words; empty if nothing is wrong.
        is_kafka: whether a Kafka answers at its address.
    """

    reason: str
    is_kafka: bool = True


async def why_no_broker(settings: Settings) -> str:
    """Error message for brokers that a client could not connect to."""
    found = await _diagnoses(settings)
    return _found_reason(found, settings) or no_broker(settings, "; ".join(one.reason for one in found if one.reason))


async def why_not_ready(settings: Settings) -> str | None:
    """Error message for a cluster of which a client could reach some brokers only; None if all answer now."""
    return _found_reason(await _diagnoses(settings), settings)


async def why_advertised_are_unreachable(brokers: Iterable[Address], settings: Settings) -> str | None:
    """Error message for a cluster of which no broker can be reached at the address that it advertises; else None.

    Args:
        brokers: the advertised addresses.
        settings: with the bootstrap servers, which could be reached.
    """
    advertised = sorted(set(brokers) - {_address(server) for server in settings.brokers})
    if len(advertised) < len(set(brokers)):
        return None
    reasons = dict(zip(advertised, await asyncio.gather(*map(_why_not_reached, advertised)), strict=True))
    return _unreachable(settings.broker, reasons) if reasons and None not in reasons.values() else None


def no_broker(settings: Settings, reason: str = "") -> str:
    """Error message for a broker that does not answer."""
    return (
        f"no Kafka broker answers at {settings.broker} (NEXTCLICK_BROKER){f': {reason}' if reason else ''}: set it to "
        "the address of yours, or start one here by `nextclick broker`"
    )


async def _diagnoses(settings: Settings) -> list[Diagnosis]:
    return await asyncio.gather(*(_diagnosis(_address(server)) for server in settings.brokers))


def _found_reason(found: Iterable[Diagnosis], settings: Settings) -> str | None:
    reasons = [one.reason for one in found if one.is_kafka and one.reason]
    return f"{reasons[0]} (NEXTCLICK_BROKER={settings.broker})" if reasons else None


async def _diagnosis(server: Address) -> Diagnosis:
    name = _name(server)
    reason = await _why_not_reached(server)
    if reason is not None:
        return Diagnosis("" if reason == REFUSED else f"{name}: {reason}", is_kafka=False)
    connection, speaks_tls = await asyncio.gather(_connect(server, None), _speaks_tls(server))
    over_tls = connection is None and speaks_tls
    if over_tls:
        connection = await _connect(server, _any_certificate())
    if connection is None:
        if over_tls:
            return Diagnosis(_secured(name, ["TLS"]))
        return Diagnosis(f"{name} takes connections, but does not answer as Kafka does", is_kafka=False)
    try:
        mechanisms = await _sasl_mechanisms(connection)
        if mechanisms is not None or over_tls:
            login = [f"SASL ({', '.join(mechanisms)})"] if mechanisms is not None else []
            return Diagnosis(_secured(name, [*(["TLS"] if over_tls else []), *login]))
        advertised = await _advertised(connection)
    finally:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(connection.close(), ANSWER_SECONDS)
    reasons = {address: await _why_not_reached(address) for address in advertised}
    return Diagnosis(_unreachable(name, reasons) if any(reasons.values()) else "")


def _secured(listener: str, asked: Sequence[str]) -> str:
    return (
        f"the listener at {listener} asks for {' and '.join(asked)}, and nextclick speaks plaintext without a login: "
        "give the address of a listener with security protocol PLAINTEXT"
    )


def _unreachable(bootstrap: str, reasons: Mapping[Address, str | None]) -> str:
    listed = ", ".join(f"{_name(address)} ({reason})" for address, reason in reasons.items() if reason)
    return (
        f"Kafka answers at {bootstrap} and tells clients to use {listed}, which cannot be reached from here: set "
        "advertised.listeners of the brokers to addresses that can be reached, or use the listener that is meant for "
        "this network"
    )


async def _why_not_reached(server: Address) -> str | None:
    """Why no connection can be made; None if one can."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            _, writer = await asyncio.open_connection(*server)
    except TimeoutError:
        return f"no answer within {ANSWER_SECONDS:g} s"
    except socket.gaierror:
        return "this host name is not known here"
    except ConnectionRefusedError:
        return REFUSED
    except OSError as error:
        return os.strerror(error.errno) if error.errno else REFUSED  # several addresses, such as 127.0.0.1 and ::1
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return None


async def _connect(server: Address, tls: ssl.SSLContext | None) -> AIOKafkaConnection | None:
    """A connection to a Kafka that has told its versions; None if there is none."""
    try:
        return await create_conn(
            *server,
            request_timeout_ms=round(ANSWER_SECONDS * 1000),
            security_protocol="PLAINTEXT" if tls is None else "SSL",
            ssl_context=tls,
        )
    except (KafkaError, OSError, TimeoutError, AssertionError, ValueError):
        return None


async def _speaks_tls(server: Address) -> bool:
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            _, writer = await asyncio.open_connection(*server, ssl=_any_certificate())
    except (OSError, TimeoutError):
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True


def _any_certificate() -> ssl.SSLContext:
    """Accepts every certificate: nothing secret is sent."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def _sasl_mechanisms(connection: AIOKafkaConnection) -> Collection[str] | None:
    """The mechanisms of a listener that asks for SASL; None if it does not."""
    try:
        response: Any = await connection.send(SaslHandShakeRequest("PLAIN"))
    except (KafkaError, OSError, TimeoutError):
        return None
    return None if response.error_code == IllegalSaslStateError.errno else list(response.enabled_mechanisms)


async def _advertised(connection: AIOKafkaConnection) -> list[Address]:
    try:
        response: Any = await connection.send(MetadataRequest([]))
    except (KafkaError, OSError, TimeoutError):
        return []
    return sorted({(broker[1], broker[2]) for broker in response.brokers})


def _address(server: str) -> Address:
    host, _, port = server.rpartition(":")
    return host.strip("[]"), int(port)


def _name(server: Address) -> str:
    return f"{server[0]}:{server[1]}"
