"""Tokens for `--sasl oauthbearer`: OAuth 2.0's client credentials grant, answered on this machine."""

import base64
import hmac
import json
import threading
import time
import uuid
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote_plus

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

AUDIENCE = "kafka"
ISSUER = "nextclick-local"


class TokenServer:
    """Gives a signed token (JWT, RS256) to whoever shows the id and secret of a client; at 127.0.0.1, a free port.

    Args:
        clients: id → secret; may change meanwhile.
        token_seconds: how long a token is valid.
    """

    def __init__(self, clients: Mapping[str, str], token_seconds: int) -> None:
        self.token_seconds = token_seconds
        self._clients = clients
        self._key = rsa.generate_private_key(public_exponent=65_537, key_size=2048)
        self._key_id = uuid.uuid4().hex
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="tokens", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """The token endpoint."""
        return f"http://127.0.0.1:{self._server.server_port}/token"

    @property
    def key_set(self) -> bytes:
        """The public key, as a JWK set."""
        numbers = self._key.public_key().public_numbers()
        key = {
            "kty": "RSA", "use": "sig", "alg": "RS256", "kid": self._key_id,
            "n": _base64(numbers.n.to_bytes(256, "big")), "e": _base64(numbers.e.to_bytes(3, "big")),
        }  # fmt: skip
        return json.dumps({"keys": [key]}).encode()

    def token(self, client: str) -> str:
        """A token for this client, valid from now."""
        now = int(time.time())
        claims = {
            "sub": client, "iss": ISSUER, "aud": AUDIENCE, "scope": AUDIENCE, "iat": now,
            "exp": now + self.token_seconds, "jti": uuid.uuid4().hex,
        }  # fmt: skip
        parts = ({"alg": "RS256", "typ": "JWT", "kid": self._key_id}, claims)
        text = ".".join(_base64(json.dumps(part).encode()) for part in parts)
        return f"{text}.{_base64(self._key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256()))}"

    def knows(self, client: str, secret: str) -> bool:
        """Whether this is the secret of this client."""
        expected = self._clients.get(client)
        return expected is not None and hmac.compare_digest(expected.encode(), secret.encode())

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler(tokens: TokenServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            form = parse_qs(self.rfile.read(int(self.headers.get("Content-Length", 0))).decode())
            client, secret = _credentials(self.headers.get("Authorization", ""), form)
            if self.path != "/token":
                self._answer(404, {"error": "not_found"})
            elif form.get("grant_type") != ["client_credentials"]:
                self._answer(400, {"error": "unsupported_grant_type"})
            elif not tokens.knows(client, secret):
                self._answer(401, {"error": "invalid_client"})
            else:
                granted = {"token_type": "Bearer", "expires_in": tokens.token_seconds}
                self._answer(200, {"access_token": tokens.token(client), **granted})

        def _answer(self, status: int, body: dict[str, Any]) -> None:
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    return Handler


def _credentials(authorization: str, form: Mapping[str, list[str]]) -> tuple[str, str]:
    """Client id and secret, from the header (HTTP Basic) or else from the form."""
    kind, _, encoded = authorization.partition(" ")
    if kind.lower() != "basic":
        return form.get("client_id", [""])[0], form.get("client_secret", [""])[0]
    try:
        client, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except ValueError:
        return "", ""
    return unquote_plus(client), unquote_plus(secret)


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")
