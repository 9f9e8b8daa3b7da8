"""A broker with a listener for each way to log in, and the certificates that they take."""

import base64
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from aiohttp import web

from messaging.loop_thread import LoopThread
from nextclick.broker import LocalBroker
from nextclick.broker.certificates import Certificate
from schemas.settings import Settings
from tests import certificates
from tests.free_ports import free_ports
from tests.proxy import Proxy

HOST = "127.0.0.1"
PROTOCOLS = {
    "PLAINTEXT": "PLAINTEXT",
    "CONTROLLER": "PLAINTEXT",
    "LOGIN": "SASL_PLAINTEXT",
    "TLS": "SSL",
    "MTLS": "SSL",
    "LOGINTLS": "SASL_SSL",
    "OAUTH": "SASL_SSL",
    "OTHERHOST": "SSL",
    "EXPIRED": "SSL",
}
SESSION_SECONDS = 6
"""The broker ends a connection so long after its login."""

TOKEN_SECONDS = 5
SECRET = "ge:heim; \"'x%"


class Certificates:
    """Authorities and certificates, as files."""

    def __init__(self, folder: Path) -> None:
        self.authority = certificates.authority(folder / "authority")
        self.ca = self.authority.file
        self.other_ca = certificates.authority(folder / "other").file
        self.client_pem = certificates.keystore_file(self.authority.issue("shop"), folder / "client.pem")

    def write_client(self, path: Path, seconds: float) -> None:
        """Put a client's certificate, valid for so long from now on, and its key in place of a file."""
        begin = datetime.now(UTC) - timedelta(minutes=1)
        made = self.authority.issue("shop", begin=begin, life=timedelta(minutes=1, seconds=seconds))
        certificates.keystore_file(made, path.with_suffix(".new")).replace(path)


def keystore(made: Certificate) -> dict[str, str]:
    """A broker's certificate, as Kafka's properties."""
    return {
        "ssl.keystore.type": "PEM",
        "ssl.keystore.certificate.chain": joined_lines(made.certificate),
        "ssl.keystore.key": joined_lines(made.key),
    }


@dataclass
class Listeners:
    """A running broker; `settings` gives those of a client that logs in rightly at a listener.

    Clients of the listener MTLS connect to `proxy`, which can cut their connections.
    """

    ports: dict[str, int]
    certificates: Certificates
    tokens: "IdentityProvider"
    proxy: Proxy

    def settings(self, listener: str, **changed: Any) -> Settings:
        protocol = PROTOCOLS[listener]
        values: dict[str, Any] = {"broker": f"{HOST}:{self.ports[listener]}", "security_protocol": protocol}
        if protocol.endswith("SSL"):
            values["ssl_cafile"] = str(self.certificates.ca)
        if listener == "MTLS":
            values["ssl_certfile"] = str(self.certificates.client_pem)
        if listener in ("LOGIN", "LOGINTLS"):
            values |= {"sasl_mechanism": "PLAIN", "sasl_username": "shop", "sasl_password": "secret"}
        if listener == "OAUTH":
            values |= {
                "sasl_mechanism": "OAUTHBEARER",
                "sasl_oauthbearer_client_id": "shop",
                "sasl_oauthbearer_client_secret": SECRET,
                "sasl_oauthbearer_token_endpoint_url": self.tokens.url,
            }
        return Settings(_env_file=None, **(values | changed))


class IdentityProvider:
    """Gives tokens without a signature to clients that know the secret."""

    def __init__(self) -> None:
        self.given = 0
        self.url = ""

    async def start(self) -> web.AppRunner:
        app = web.Application()
        app.router.add_post("/token", self._token)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, HOST, 0)
        await site.start()
        self.url = f"http://{HOST}:{runner.addresses[0][1]}/token"
        return runner

    async def _token(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != "Basic " + base64.b64encode(f"shop:{SECRET}".encode()).decode():
            return web.json_response({"error": "invalid_client"}, status=401)
        self.given += 1
        now = time.time()
        claims = {"sub": "shop", "iat": now, "exp": now + TOKEN_SECONDS, "scope": "kafka"}
        token = ".".join([_base64({"alg": "none"}), _base64(claims), ""])
        return web.json_response({"access_token": token, "token_type": "Bearer", "expires_in": TOKEN_SECONDS})


@contextmanager
def secured_listeners(folder: Path) -> Iterator[Listeners]:
    """Start the broker and the identity provider for the `with` block."""
    proxied, *others = free_ports(1 + len(PROTOCOLS))
    ports = dict(zip(PROTOCOLS, others, strict=True))
    files, tokens = Certificates(folder), IdentityProvider()
    authority = files.authority
    addresses = {name: f"{name}://{HOST}:{port}" for name, port in ports.items()}
    advertised = addresses | {"MTLS": f"MTLS://{HOST}:{proxied}"}
    login = 'org.apache.kafka.common.security.plain.PlainLoginModule required user_shop="secret";'
    token = (
        "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required "
        'unsecuredLoginStringClaim_sub="broker";'
    )
    properties = keystore(authority.issue("broker", certificates.HOSTS)) | {
        "listeners": ",".join(addresses.values()),
        "advertised.listeners": ",".join(at for name, at in advertised.items() if name != "CONTROLLER"),
        "controller.quorum.bootstrap.servers": f"{HOST}:{ports['CONTROLLER']}",
        "listener.security.protocol.map": ",".join(f"{name}:{protocol}" for name, protocol in PROTOCOLS.items()),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.certificates": joined_lines(files.ca.read_bytes()),
        "connections.max.reauth.ms": str(SESSION_SECONDS * 1000),
        "sasl.enabled.mechanisms": "PLAIN",
        "listener.name.login.plain.sasl.jaas.config": login,
        "listener.name.logintls.plain.sasl.jaas.config": login,
        "listener.name.mtls.ssl.client.auth": "required",
        "listener.name.oauth.sasl.enabled.mechanisms": "OAUTHBEARER",
        "listener.name.oauth.oauthbearer.sasl.jaas.config": token,
    }
    for name, made in (
        ("otherhost", authority.issue("broker", ("kafka.example.org",))),
        ("expired", certificates.expired(authority, "broker", certificates.HOSTS)),
    ):
        properties |= {f"listener.name.{name}.{key}": value for key, value in keystore(made).items()}
    with LoopThread("identity provider") as loop:
        runner = loop.run(tokens.start())
        proxy = Proxy(proxied, ports["MTLS"])
        try:
            with LocalBroker(ports["PLAINTEXT"], folder / "data", properties):
                yield Listeners(ports | {"MTLS": proxied}, files, tokens, proxy)
        finally:
            proxy.close()
            loop.run(runner.cleanup())


def joined_lines(pem: bytes) -> str:
    """PEM text as the value of a property."""
    return pem.decode().replace("\n", "\\n")


def _base64(claims: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
