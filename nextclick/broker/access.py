"""What clients of a secured broker need: certificates, users and their passwords."""

import json
import secrets
from functools import cached_property
from pathlib import Path

from nextclick.broker.certificates import Authority
from nextclick.broker.property_file import content_of
from nextclick.broker.secret_files import write_secret
from nextclick.broker.security import ADMIN, MECHANISMS, Security, check_user_name
from nextclick.broker.token_server import TokenServer
from schemas.errors import BrokerError

HOSTS = ("127.0.0.1", "localhost")
"""The names that the broker's certificate is valid for."""
LOGIN_MODULES = {
    "plain": "org.apache.kafka.common.security.plain.PlainLoginModule",
    "scram": "org.apache.kafka.common.security.scram.ScramLoginModule",
    "oauthbearer": "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule",
}
_LOGIN_BY_CREDENTIALS = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginCallbackHandler"


class Access:
    """The certificates and users of a broker or a cluster.

    Without TLS and SASL there are none. The files are in the folder `security`; those with secrets have mode 0600. The
    authority and the passwords are kept for the next start, certificates are issued anew.

    Args:
        data: directory of the broker; exists.
        security: how clients must log in.
        address: where they connect.
    """

    def __init__(self, data: Path, security: Security, address: str) -> None:
        self.security = security
        self.address = address
        self.client_properties = data / "client.properties"
        self.node_password = secrets.token_urlsafe(24)
        self._folder = data / "security"
        self.users: dict[str, str] = {}
        self.token_server: TokenServer | None = None
        if security.secured:
            self._prepare()

    @property
    def ca_file(self) -> Path:
        """The authority that signed the certificates."""
        return self._folder / "ca.pem"

    @property
    def server_keystore(self) -> Path:
        """Key and certificate of the broker."""
        return self._folder / "server.pem"

    @property
    def key_set_file(self) -> Path:
        """The keys that tokens are checked with (a JWK set)."""
        return self._folder / "token-keys.json"

    def certificate_of(self, name: str) -> Path:
        """A user's certificate."""
        return self._users_folder / f"{name}.pem"

    def key_of(self, name: str) -> Path:
        """The key of a user's certificate."""
        return self._users_folder / f"{name}.key"

    def properties_file_of(self, name: str) -> Path:
        """What a client needs to log in as this user, in Kafka's own property names."""
        return self.client_properties if name == ADMIN else self._users_folder / f"{name}.properties"

    def add_user(self, name: str) -> Path:
        """Make a user, with a password and a certificate as far as logging in needs them.

        Returns:
            Its `properties_file_of`.
        """
        check_user_name(name)
        if self.security.sasl is not None and name not in self.users:
            self.users[name] = secrets.token_urlsafe(18)
            write_secret(self._users_file, json.dumps(self.users, indent=1).encode())
        if self.security.tls:
            certificate = self._authority.issue(name)
            self.certificate_of(name).write_bytes(certificate.certificate)
            write_secret(self.key_of(name), certificate.key)
            write_secret(self._keystore_of(name), certificate.keystore)
        path = self.properties_file_of(name)
        write_secret(path, content_of(self._properties_of(name)))
        return path

    def close(self) -> None:
        """Stop issuing tokens."""
        if self.token_server is not None:
            self.token_server.close()

    def _prepare(self) -> None:
        self._folder.mkdir(exist_ok=True, mode=0o700)
        self._users_folder.mkdir(exist_ok=True)
        if self._users_file.exists():
            self.users |= json.loads(self._users_file.read_text())
        if self.security.sasl == "oauthbearer":
            self.token_server = TokenServer(self.users, self.security.token_seconds)
            self.key_set_file.write_bytes(self.token_server.key_set)
        if self.security.tls:
            self._write_server_keystore()
        for name in (ADMIN, *self.security.users):
            self.add_user(name)

    @cached_property
    def _authority(self) -> Authority:
        return Authority(self._folder)

    @property
    def _users_folder(self) -> Path:
        return self._folder / "users"

    @property
    def _users_file(self) -> Path:
        return self._folder / "users.json"

    def _keystore_of(self, name: str) -> Path:
        return self._users_folder / f"{name}-keystore.pem"

    def _write_server_keystore(self) -> None:
        given = self.security.server_certificate
        try:
            keystore = (
                self._authority.issue("nextclick broker", HOSTS).keystore if given is None else given.read_bytes()
            )
        except OSError as error:
            raise BrokerError(f"the broker's certificate {given} cannot be read ({error.strerror})") from error
        write_secret(self.server_keystore, keystore)

    def _properties_of(self, name: str) -> dict[str, str]:
        properties = {"bootstrap.servers": self.address, "security.protocol": self.security.protocol}
        if self.security.tls:
            properties |= {"ssl.truststore.type": "PEM", "ssl.truststore.location": str(self.ca_file)}
        if self.security.presents_certificate:
            properties |= {"ssl.keystore.type": "PEM", "ssl.keystore.location": str(self._keystore_of(name))}
        if (sasl := self.security.sasl) is None:
            return properties
        user, password = ("username", "password") if self.token_server is None else ("clientId", "clientSecret")
        properties |= {
            "sasl.mechanism": MECHANISMS[sasl][0],
            "sasl.jaas.config": f'{LOGIN_MODULES[sasl]} required {user}="{name}" {password}="{self.users[name]}";',
        }
        if self.token_server is not None:
            properties |= {
                "sasl.oauthbearer.token.endpoint.url": self.token_server.url,
                "sasl.login.callback.handler.class": _LOGIN_BY_CREDENTIALS,
            }
        return properties
