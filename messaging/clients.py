"""Kafka clients that fail with one readable line.

async with admin(settings) as client:
    for name, topic in (await existing_topics(client)).items(): ...
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any, TypeVar

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaConnectionError, KafkaError

from schemas.errors import BrokerError
from schemas.settings import Settings

CONNECT_SECONDS = 5.0
"""How long a broker may take to answer the first request."""

REQUEST_SECONDS = 15.0

_Client = TypeVar("_Client")


@contextlib.asynccontextmanager
async def connected(client: _Client, settings: Settings) -> AsyncIterator[_Client]:
    """Start any aiokafka client (admin, producer, consumer), hand it out, and close it.

    Args:
        client: not yet started; made with `bootstrap_servers=settings.brokers`.
        settings: names the address in errors.

    Raises:
        BrokerError: nothing answers within `CONNECT_SECONDS`, or Kafka refuses what the block asks of it.
    """
    handle: Any = client
    with kafka_errors(settings):
        try:
            await start(client, settings)
            yield client
        finally:
            close = handle.close if isinstance(handle, AIOKafkaAdminClient) else handle.stop
            with contextlib.suppress(KafkaError, OSError):
                await close()


async def start(client: Any, settings: Settings) -> None:
    """Start any aiokafka client; one that is kept for long and not by `connected`.

    Raises:
        BrokerError: nothing answers within `CONNECT_SECONDS`.
    """
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            await client.start()
    except (TimeoutError, KafkaConnectionError, OSError) as error:
        raise BrokerError(no_broker(settings)) from error


@contextlib.contextmanager
def kafka_errors(settings: Settings) -> Iterator[None]:
    """Raise what Kafka refuses inside the block as a `BrokerError`, and keep it out of aiokafka's log."""
    with quiet_client_log():
        try:
            yield
        except KafkaError as error:
            raise BrokerError(f"Kafka at {settings.broker} failed: {kafka_reason(error)}") from error


@contextlib.asynccontextmanager
async def admin(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    """A client that looks at topics and creates them.

    Raises:
        BrokerError: as `connected`.
    """
    client = AIOKafkaAdminClient(
        bootstrap_servers=settings.brokers, client_id=settings.app_id, request_timeout_ms=round(REQUEST_SECONDS * 1000)
    )
    async with connected(client, settings):
        yield client


def no_broker(settings: Settings) -> str:
    """What to tell somebody whose broker does not answer."""
    return (
        f"no Kafka broker answers at {settings.broker} (NEXTCLICK_BROKER): set it to the address of yours, or start "
        "one here by `nextclick broker`"
    )


def kafka_reason(error: BaseException) -> str:
    """A Kafka error in one line, with its name where the text does not say it."""
    text = str(error).strip()
    name = type(error).__name__
    return text if name in text else f"{name}: {text}" if text else name


@contextlib.contextmanager
def quiet_client_log() -> Iterator[None]:
    """Keep aiokafka from logging what is raised as an error anyway."""
    logger = logging.getLogger("aiokafka")
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(before)
