"""What a broker and a cluster tell about logging in."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

from nextclick.broker.access import Access
from nextclick.broker.security import ADMIN, Security
from schemas.errors import BrokerError


class Secured(ABC):
    """A service whose clients log in as `security` says; its files and users exist once it has been started."""

    security: Security
    _access: Access | None = None

    @property
    def access(self) -> Access:
        """Certificates and users.

        Raises:
            BrokerError: it has not been started.
        """
        if self._access is None:
            raise BrokerError("certificates and users exist only once the local broker has been started")
        return self._access

    @property
    def ca_file(self) -> Path:
        """The authority that signed the broker's certificate, PEM."""
        return self.access.ca_file

    @property
    def client_cert(self) -> Path:
        """The certificate of the user `admin`, PEM."""
        return self.access.certificate_of(ADMIN)

    @property
    def client_key(self) -> Path:
        """The key of the user `admin`, PEM."""
        return self.access.key_of(ADMIN)

    @property
    def client_properties(self) -> Path:
        """What a client needs to log in as `admin`, in Kafka's own property names."""
        return self.access.client_properties

    @property
    def users(self) -> Mapping[str, str]:
        """User → password (`oauthbearer`: client id → secret); empty where certificates alone are asked for."""
        return self.access.users

    @property
    def token_url(self) -> str:
        """Where `oauthbearer` gives tokens to clients.

        Raises:
            BrokerError: there are no tokens.
        """
        if self.access.token_server is None:
            raise BrokerError("only --sasl oauthbearer gives tokens")
        return self.access.token_server.url

    def add_user(self, name: str) -> Path:
        """Make a user at a running broker.

        Returns:
            A file with what a client needs to log in as this user, in Kafka's own property names.

        Raises:
            BrokerError: Kafka takes new users of `plain` only at a start.
        """
        if self.security.sasl == "plain" and name not in self.users:
            raise BrokerError(f"Kafka reads the users of PLAIN at its start: name {name} in `Security(users=...)`")
        path = self.access.add_user(name)
        self._store_users([name])
        return path

    @abstractmethod
    def _store_users(self, names: list[str]) -> None:
        """Make the running service know these users."""
