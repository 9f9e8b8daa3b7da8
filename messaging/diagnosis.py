"""Why no client can work with the brokers of the settings, in one line.

A client that fails to connect only knows that it failed. This asks each bootstrap server step by step: does the name
resolve, does the port answer, does the connection of the settings succeed, and if not, what does the listener ask for?
Can the addresses that it advertises be reached?
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import KafkaError
from aiokafka.protocol.metadata import MetadataRequest

from messaging.listeners import ANSWER_SECONDS, Address, asked_by, closing, open_connection, why_refused
from messaging.security import security_of
from schemas.errors import BrokerError, RefusedError
from schemas.settings import Settings

REFUSED = "connection refused"


@dataclass(frozen=True)
class Diagnosis:
    """What is wrong with one bootstrap server, and how much is known about it.

    Attributes:
        reason: in words; empty if nothing is wrong.
        is_kafka: whether a Kafka answers at its address.
        refused: whether it refuses the TLS or the login of this client.
    """

    reason: str
    is_kafka: bool = True
    refused: bool = False


async def why_no_broker(settings: Settings) -> BrokerError:
    """The error for brokers that a client could not connect to."""
    found = await _diagnoses(settings)
    none = no_broker(settings, "; ".join(one.reason for one in found if one.reason))
    return _found_reason(found, settings) or BrokerError(none)


async def why_not_ready(settings: Settings) -> BrokerError | None:
    """The error for a cluster of which a client could reach some brokers only; None if all answer now."""
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
    return await asyncio.gather(*(_diagnosis(_address(server), settings) for server in settings.brokers))


def _found_reason(found: Iterable[Diagnosis], settings: Settings) -> BrokerError | None:
    first = next((one for one in found if one.is_kafka and one.reason), None)
    if first is None:
        return None
    return (RefusedError if first.refused else BrokerError)(f"{first.reason} (NEXTCLICK_BROKER={settings.broker})")


async def _diagnosis(server: Address, settings: Settings) -> Diagnosis:
    name = _name(server)
    reason = await _why_not_reached(server)
    if reason is not None:
        return Diagnosis("" if reason == REFUSED else f"{name}: {reason}", is_kafka=False)
    asked = await asked_by(server)
    if asked is None:
        return Diagnosis(f"{name} takes connections, but does not answer as Kafka does", is_kafka=False)
    if (why := asked.why_not_answered(name, settings)) is not None:
        return Diagnosis(why, refused=True)
    try:
        connection = await open_connection(server, **security_of(settings).options())
    except (KafkaError, OSError, TimeoutError, AssertionError, ValueError) as error:
        refused = settings.security_protocol != "PLAINTEXT" and not isinstance(error, TimeoutError)
        return Diagnosis(why_refused(name, error, settings), refused=refused)
    async with closing(connection):
        advertised = await _advertised(connection)
    reasons = {address: await _why_not_reached(address) for address in advertised}
    return Diagnosis(_unreachable(name, reasons) if any(reasons.values()) else "")


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
