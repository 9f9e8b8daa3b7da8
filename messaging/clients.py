"""Kafka clients: all of them are made here, with the same security, names and time-outs, and readable failures.

async with connected(new_consumer(settings, "archive"), settings) as client:
    client.assign(partitions)
"""

import asyncio
import contextlib
import logging
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any, TypeVar

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaConnectionError, KafkaError, NodeNotReadyError

from messaging.diagnosis import why_advertised_are_unreachable, why_no_broker, why_not_ready
from messaging.failures import REFUSALS, kafka_reason, passes, skip_advice, unreadable_batch, way_out
from messaging.renewal import Renewal
from messaging.security import security_of
from schemas.errors import BrokerError, RefusedError
from schemas.settings import Settings

CONNECT_SECONDS = 5.0
"""How long a broker may take to answer the first request."""

LOGIN_SECONDS = 15.0
"""The same with TLS and a login, for which an identity provider may be asked."""

REQUEST_SECONDS = 15.0

_Client = TypeVar("_Client")


def new_consumer(settings: Settings, role: str, **options: Any) -> AIOKafkaConsumer:
    """A consumer, not started, that commits by itself never, and reads committed messages from the earliest one on.

    Args:
        settings: broker and security.
        role: what it is for, the end of its `client.id`.
        options: further options of `AIOKafkaConsumer`, which win over these.

    Raises:
        SettingsError: the files of the security settings cannot be used.
    """
    defaults = {"enable_auto_commit": False, "isolation_level": "read_committed", "auto_offset_reset": "earliest"}
    return secured(AIOKafkaConsumer(bootstrap_servers=settings.brokers, **(defaults | options)), settings, role)


def new_producer(settings: Settings, role: str, **options: Any) -> AIOKafkaProducer:
    """A producer, not started, whose messages are acknowledged by all replicas in sync.

    Args, Raises: as `new_consumer`.
    """
    defaults = {"acks": "all", "request_timeout_ms": round(REQUEST_SECONDS * 1000)}
    return secured(AIOKafkaProducer(bootstrap_servers=settings.brokers, **(defaults | options)), settings, role)


@contextlib.asynccontextmanager
async def admin(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    """A client that lists and creates topics.

    Raises:
        BrokerError: see `connected`.
        SettingsError: as `new_consumer`.
    """
    client = AIOKafkaAdminClient(bootstrap_servers=settings.brokers, request_timeout_ms=round(REQUEST_SECONDS * 1000))
    async with connected(secured(client, settings, "admin"), settings):
        yield client


def secured(client: _Client, settings: Settings, role: str) -> _Client:
    """Give a client of aiokafka that is not started the security of the settings, and its `client.id`.

    Raises:
        SettingsError: as `new_consumer`.
    """
    connections, security = _connections(client), security_of(settings)
    connections._client_id = f"{settings.app_id}-{role}"
    if settings.security_protocol != "PLAINTEXT":
        for name, value in security.options().items():
            setattr(connections, f"_{name}", value)
        Renewal(connections, security.options).install()
    return client


@contextlib.asynccontextmanager
async def connected(client: _Client, settings: Settings) -> AsyncIterator[_Client]:
    """Start an aiokafka client (admin, producer or consumer) for the `async with` block, then close it.

    Args:
        client: not started, of this module.
        settings: its broker address is named in errors.

    Raises:
        BrokerError: no broker answers within `CONNECT_SECONDS`, or Kafka refuses a request inside the block.
    """
    with kafka_errors(settings):
        try:
            await start(client, settings)
            yield client
        except NodeNotReadyError as error:
            if (reason := await why_not_ready(settings)) is not None:
                raise reason from error
            raise
        finally:
            await stop(client)


async def start(client: Any, settings: Settings) -> None:
    """Start an aiokafka client that the caller stops itself, instead of `connected`.

    Raises:
        BrokerError: no broker answers within `CONNECT_SECONDS`, or none can be reached at its advertised address.
    """
    try:
        async with asyncio.timeout(CONNECT_SECONDS if settings.security_protocol == "PLAINTEXT" else LOGIN_SECONDS):
            await client.start()
    except (TimeoutError, KafkaConnectionError, OSError) as error:
        raise await why_no_broker(settings) from error
    brokers = ((broker.host, broker.port) for broker in _connections(client).cluster.brokers())
    if (reason := await why_advertised_are_unreachable(brokers, settings)) is not None:
        raise BrokerError(reason)


async def stop(client: Any) -> None:
    """Close an aiokafka client (admin, producer or consumer), whether the broker answers or not.

    A consumer of aiokafka cancels its fetches. If one of them waits for another try, the consumer passes this
    cancellation on, as if the caller was cancelled, and leaves its connections open.
    """
    close = client.close if isinstance(client, AIOKafkaAdminClient) else client.stop
    with contextlib.suppress(KafkaError, OSError):
        try:
            await close()
        except asyncio.CancelledError:
            if (task := asyncio.current_task()) is None or task.cancelling():
                raise
            await _connections(client).close()


def _connections(client: Any) -> Any:
    """What a client of aiokafka talks to the brokers by."""
    return client.client if isinstance(client, AIOKafkaProducer) else client._client


@contextlib.contextmanager
def kafka_errors(settings: Settings) -> Iterator[None]:
    """Turn a `KafkaError` inside the block into a `BrokerError`, and silence aiokafka's log meanwhile.

    The same for any error at a batch that cannot be read: a decompressor raises errors of its own.
    """
    with quiet_client_log():
        try:
            yield
        except Exception as error:
            if unreadable_batch(error) is None and not isinstance(error, KafkaError):
                raise
            raise broker_error(error, settings) from error


def broker_error(error: BaseException, settings: Settings, doing: str = "", lasting: bool = False) -> BrokerError:
    """The one line for an error of Kafka: what failed, why, and, unless it may pass by itself, what to do.

    Args:
        error: from aiokafka, or from a decompressor that it called.
        settings: name the broker.
        doing: what failed, such as "answers were not written"; by default the line says that Kafka failed.
        lasting: an error that passes by itself has lasted for so long that it will not.
    """
    batch = unreadable_batch(error)
    if batch is not None:
        return BrokerError(f"{batch}: {skip_advice(batch, error)}")
    end = "" if passes(error) and not lasting else f": {way_out(error)}"
    kind = RefusedError if isinstance(error, REFUSALS) else BrokerError
    return kind(f"{f'{doing}: ' if doing else ''}Kafka at {settings.broker} failed: {kafka_reason(error)}{end}")


class _QuietLog:
    """Silences a logger while at least one block asks for it: blocks of several tasks and threads may overlap."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)
        self._lock = threading.Lock()
        self._blocks = 0
        self._level = logging.NOTSET

    def __enter__(self) -> None:
        with self._lock:
            if not self._blocks:
                self._level = self._logger.level
                self._logger.setLevel(logging.CRITICAL + 1)
            self._blocks += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._blocks -= 1
            if not self._blocks:
                self._logger.setLevel(self._level)


def _without_secrets(record: logging.LogRecord) -> bool:
    """Whether a line may be logged: at the level DEBUG, aiokafka logs every request, and so passwords and tokens."""
    return not any(type(each).__name__.startswith("SaslAuthenticate") for each in record.args or ())


logging.getLogger("aiokafka.conn").addFilter(_without_secrets)
_QUIET_CLIENT = _QuietLog("aiokafka")


def quiet_client_log() -> contextlib.AbstractContextManager[None]:
    """Silence aiokafka's log: what it would log is also raised as an error."""
    return _QUIET_CLIENT
