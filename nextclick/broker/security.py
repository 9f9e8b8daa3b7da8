"""How clients must log in to a broker on this machine."""

import re
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import BrokerError

ADMIN = "admin"
"""The user that may do everything, under `acl` too."""
NODE_USER = "broker"
"""The name that nodes log in to each other with, where clients must log in; its password lasts for one run."""
MECHANISMS = {
    "plain": ("PLAIN",),
    "scram": ("SCRAM-SHA-512", "SCRAM-SHA-256"),
    "oauthbearer": ("OAUTHBEARER",),
}
"""What `--sasl` takes, and Kafka's names for it; clients are told the first."""

_USER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def check_user_name(name: str) -> None:
    """See that a name can be that of a user: files and Kafka's settings contain it.

    Raises:
        BrokerError: it cannot.
    """
    if _USER_NAME.fullmatch(name) is None or name == NODE_USER:
        raise BrokerError(
            f"--user {name!r} cannot be the name of a user: take letters, digits, '.', '_' and '-', "
            f"at most 64, and not {NODE_USER}, which is the brokers' own"
        )


@dataclass(frozen=True)
class Security:
    """How clients must log in. By default they need not.

    Attributes:
        tls: connections are encrypted. An authority, the broker's certificate and one for each user are made.
        sasl: a key of `MECHANISMS`, or None. Passwords are made.
        client_auth: a client without a certificate is refused. Without it, TLS alone lets such a client in as
            ANONYMOUS, which has no rights under `acl`.
        acl: what no ACL allows is refused, except for the user `admin`.
        users: names besides `admin`.
        token_seconds: how long a token of `oauthbearer` is valid.
        server_certificate: the broker's key (PKCS8) and certificate in one PEM file, in place of one that is made.

    Raises:
        BrokerError: options that contradict each other.
    """

    tls: bool = False
    sasl: str | None = None
    client_auth: bool = False
    acl: bool = False
    users: tuple[str, ...] = ()
    token_seconds: int = 900
    server_certificate: Path | None = None

    def __post_init__(self) -> None:
        if self.sasl is not None and self.sasl not in MECHANISMS:
            raise BrokerError(f"--sasl {self.sasl} is not known: choose one of {', '.join(MECHANISMS)}")
        if self.client_auth and not self.tls:
            raise BrokerError("client certificates need TLS: add --tls")
        if self.users and not self.secured:
            raise BrokerError("--user needs clients that log in: add --sasl scram, or --tls for client certificates")
        for name in self.users:
            check_user_name(name)
        if self.acl and not self.secured:
            raise BrokerError("--acl needs clients that log in: add --sasl scram, or --tls for client certificates")

    @property
    def secured(self) -> bool:
        """Whether there is anything to log in with."""
        return self.tls or self.sasl is not None

    @property
    def protocol(self) -> str:
        """Kafka's name for it: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL."""
        return ("SASL_" if self.sasl else "") + ("SSL" if self.tls else "PLAINTEXT")

    @property
    def presents_certificate(self) -> bool:
        """Whether a client shows its certificate."""
        return self.client_auth or (self.tls and self.sasl is None)
