"""A broker with a listener for each way to log in, and the certificates that they take."""

import base64
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import trustme
from aiohttp import web
from cryptography.hazmat.primitives import serialization

from messaging.loop_thread import LoopThread
from nextclick.broker import LocalBroker
from schemas.settings import Settings
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


@dataclass
class Certificates:
    """Authorities and certificates, as files."""

    folder: Path
    authority: trustme.CA = field(default_factory=trustme.CA)

    def __post_init__(self) -> None:
        self.ca = self.folder / "ca.pem"
        self.authority.cert_pem.write_to_path(str(self.ca))
        self.other_ca = self.folder / "other-ca.pem"
        trustme.CA().cert_pem.write_to_path(str(self.other_ca))
        self.client = self.authority.issue_cert("shop@example.org")
        self.client_pem = self.folder / "client.pem"
        self.client.private_key_and_cert_chain_pem.write_to_path(str(self.client_pem))

    def write_client(self, path: Path, seconds: float) -> None:
        """Put a client's certificate, valid for so long from now on, and its key in place of a file."""
        made = self.authority.issue_cert("shop@example.org", not_after=datetime.now(UTC) + timedelta(seconds=seconds))
        made.private_key_and_cert_chain_pem.write_to_path(str(path.with_suffix(".new")))
        path.with_suffix(".new").replace(path)

    def keystore(self, **options: Any) -> dict[str, str]:
        """A broker's certificate, as Kafka's properties."""
        made = self.authority.issue_cert(options.pop("host", HOST), **options)
        key = serialization.load_pem_private_key(made.private_key_pem.bytes(), None)
        text = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        chain = b"".join(each.bytes() for each in made.cert_chain_pems)
        return {
            "ssl.keystore.type": "PEM",
            "ssl.keystore.certificate.chain": _line(chain),
            "ssl.keystore.key": _line(text),
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
    certificates, tokens = Certificates(folder), IdentityProvider()
    addresses = {name: f"{name}://{HOST}:{port}" for name, port in ports.items()}
    advertised = addresses | {"MTLS": f"MTLS://{HOST}:{proxied}"}
    login = 'org.apache.kafka.common.security.plain.PlainLoginModule required user_shop="secret";'
    token = (
        "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required "
        'unsecuredLoginStringClaim_sub="broker";'
    )
    properties = certificates.keystore() | {
        "listeners": ",".join(addresses.values()),
        "advertised.listeners": ",".join(at for name, at in advertised.items() if name != "CONTROLLER"),
        "controller.quorum.bootstrap.servers": f"{HOST}:{ports['CONTROLLER']}",
        "listener.security.protocol.map": ",".join(f"{name}:{protocol}" for name, protocol in PROTOCOLS.items()),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.certificates": _line(certificates.ca.read_bytes()),
        "connections.max.reauth.ms": str(SESSION_SECONDS * 1000),
        "sasl.enabled.mechanisms": "PLAIN",
        "listener.name.login.plain.sasl.jaas.config": login,
        "listener.name.logintls.plain.sasl.jaas.config": login,
        "listener.name.mtls.ssl.client.auth": "required",
        "listener.name.oauth.sasl.enabled.mechanisms": "OAUTHBEARER",
        "listener.name.oauth.oauthbearer.sasl.jaas.config": token,
    }
    past = datetime(2020, 1, 1, tzinfo=UTC)
    for name, stores in (
        ("otherhost", certificates.keystore(host="kafka.example.org")),
        ("expired", certificates.keystore(not_after=past)),
    ):
        properties |= {f"listener.name.{name}.{key}": value for key, value in stores.items()}
    with LoopThread("identity provider") as loop:
        runner = loop.run(tokens.start())
        proxy = Proxy(proxied, ports["MTLS"])
        try:
            with LocalBroker(ports["PLAINTEXT"], folder / "data", properties):
                yield Listeners(ports | {"MTLS": proxied}, certificates, tokens, proxy)
        finally:
            proxy.close()
            loop.run(runner.cleanup())


def _line(pem: bytes) -> str:
    return pem.decode().replace("\n", "\\n")


def _base64(claims: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
