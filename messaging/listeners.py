"""What a listener of Kafka asks of its clients, and why it refuses the connection of the settings, in one line."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass
from typing import Any

from aiokafka.conn import AIOKafkaConnection, create_conn
from aiokafka.errors import IllegalSaslStateError, KafkaError, KafkaTimeoutError, SaslAuthenticationFailed
from aiokafka.protocol.admin import SaslHandShakeRequest

from messaging.failures import TokenError
from schemas.errors import one_line
from schemas.pem import shown
from schemas.settings import Settings

ANSWER_SECONDS = 2.0
"""How long each step may take."""

LOGIN_SECONDS = 10.0
"""How long the whole connection of the settings may take, for which an identity provider may be asked."""

Address = tuple[str, int]

_EXPIRED, _OTHER_HOST = 10, (62, 64)
"""OpenSSL's numbers of what is wrong with a certificate."""


@dataclass(frozen=True)
class Asked:
    """What a listener asks of its clients.

    Attributes:
        tls: whether it speaks TLS.
        mechanisms: of SASL, by which a client may log in; None: it asks for no login, or tells none because a client
            needs a certificate first.
    """

    tls: bool
    mechanisms: Collection[str] | None

    def why_not_answered(self, listener: str, settings: Settings) -> str | None:
        """Why the connection of the settings is another one than the listener asks for; None if it is the same."""
        protocol = settings.security_protocol
        logs_in = protocol.startswith("SASL_")
        asked = [*(["TLS"] if self.tls else []), *([self._login] if self.mechanisms is not None else [])]
        unknown = self.tls and self.mechanisms is None  # with a client certificate it may ask for a login as well
        if self.tls != protocol.endswith("SSL") or (not unknown and (self.mechanisms is not None) != logs_in):
            wanted = ("SASL_" if self.mechanisms is not None else "") + ("SSL" if self.tls else "PLAINTEXT")
            return (
                f"the listener at {listener} asks for {' and '.join(asked) or 'neither TLS nor a login'}, and "
                f"NEXTCLICK_SECURITY_PROTOCOL is {protocol}: set it to {wanted.replace('SASL_PLAINTEXT', _CLEAR)}"
            )
        mechanism = "OAUTHBEARER" if settings.sasl_mechanism == "AWS_MSK_IAM" else settings.sasl_mechanism
        if self.mechanisms is not None and mechanism not in self.mechanisms:
            return (
                f"the listener at {listener} asks for {self._login}, and NEXTCLICK_SASL_MECHANISM is "
                f"{settings.sasl_mechanism}: set it to one of those"
            )
        return None

    @property
    def _login(self) -> str:
        return f"SASL ({', '.join(self.mechanisms or ())})"


_CLEAR = "SASL_PLAINTEXT (or use a listener with TLS)"


async def asked_by(server: Address) -> Asked | None:
    """What a listener asks for; None if it does not answer as Kafka does."""
    plain, tls = await asyncio.gather(_try_connection(server, None), _speaks_tls(server))
    if plain is None and not tls:
        return None
    connection = plain or await _try_connection(server, _any_certificate())
    if connection is None:
        return Asked(tls=True, mechanisms=None)
    async with closing(connection):
        return Asked(tls=plain is None, mechanisms=await _sasl_mechanisms(connection))


def why_refused(listener: str, error: BaseException, settings: Settings) -> str:
    """Why a listener, or this client, ended the connection that the settings ask for."""
    if isinstance(error, TokenError):
        return str(error.args[0])
    if isinstance(error, SaslAuthenticationFailed):
        if settings.sasl_mechanism in ("OAUTHBEARER", "AWS_MSK_IAM"):
            why = f"the token ({one_line(error)}): check its issuer, audience and scope"
        else:
            who = f" {settings.sasl_username!r}" if settings.sasl_username else ""
            why = f"user{who} by {settings.sasl_mechanism}: check NEXTCLICK_SASL_USERNAME and NEXTCLICK_SASL_PASSWORD"
        return f"the listener at {listener} refuses {why}"
    if isinstance(error, TimeoutError | KafkaTimeoutError):
        return f"the listener at {listener} does not finish a login within {LOGIN_SECONDS:g} s: see the broker's log"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate of {listener} is not accepted ({error.verify_message}): {_way_out(error)}"
    if settings.security_protocol.endswith("SSL"):
        certificate = (
            "NEXTCLICK_SSL_CERTFILE is not set: it may ask for a client certificate"
            if settings.ssl_certfile is None
            else f"check that it trusts the certificate of NEXTCLICK_SSL_CERTFILE={shown(settings.ssl_certfile)}, "
            "and that it has not expired"
        )
        return f"the listener at {listener} ends the TLS connection ({_cause(error)}): {certificate}"
    return f"the listener at {listener} ends the connection ({_cause(error)}): see the broker's log"


def _way_out(error: ssl.SSLCertVerificationError) -> str:
    if error.verify_code == _EXPIRED:
        return "renew the broker's certificate, or check the clock of this machine"
    if error.verify_code in _OTHER_HOST:
        return (
            "use the host name of the certificate in NEXTCLICK_BROKER and in the brokers' advertised.listeners, or set "
            "NEXTCLICK_SSL_CHECK_HOSTNAME=false"
        )
    return "set NEXTCLICK_SSL_CAFILE to the file of the authority that signed it"


def _cause(error: BaseException) -> str:
    cause = error.__cause__ or error
    return str(getattr(cause, "reason", None) or one_line(cause)).lower().replace("_", " ")


async def open_connection(server: Address, seconds: float = LOGIN_SECONDS, **security: Any) -> AIOKafkaConnection:
    """A connection to a Kafka that has told its versions, and that a login has succeeded on, if there is one."""
    return await create_conn(*server, request_timeout_ms=round(seconds * 1000), **security)


@contextlib.asynccontextmanager
async def closing(connection: AIOKafkaConnection) -> AsyncIterator[None]:
    """Close a connection at the end of the block."""
    try:
        yield
    finally:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(connection.close(), ANSWER_SECONDS)


async def _try_connection(server: Address, tls: ssl.SSLContext | None) -> AIOKafkaConnection | None:
    protocol = "PLAINTEXT" if tls is None else "SSL"
    try:
        return await open_connection(server, ANSWER_SECONDS, security_protocol=protocol, ssl_context=tls)
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
