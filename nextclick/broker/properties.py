"""Kafka's own settings (`server.properties`) for a node on this machine."""

from dataclasses import dataclass
from pathlib import Path

from nextclick.broker.access import LOGIN_MODULES, Access
from nextclick.broker.security import ADMIN, MECHANISMS, NODE_USER
from nextclick.broker.token_server import AUDIENCE, ISSUER

HOST = "127.0.0.1"
LONGEST_LOGIN_MS = 3_600_000
"""A client with a token must log in again by then, or when its token ends, whichever is sooner."""


@dataclass(frozen=True)
class Ports:
    """Where a node listens; all on 127.0.0.1.

    Attributes:
        clients: for clients.
        nodes: for the other brokers; None: they connect where clients do.
        controller: for the controllers' votes and for brokers' heartbeats.
    """

    clients: int
    nodes: int | None
    controller: int


def node_properties(
    number: int, ports: Ports, advertised: Ports, access: Access, log_directory: Path
) -> dict[str, str]:
    """The settings of a node that do not depend on how many there are.

    Args:
        number: its node id.
        ports: where it listens.
        advertised: where others are told to connect.
        access: who may connect to the listener for clients.
        log_directory: for topics and metadata.
    """
    security = access.security
    clients = "CLIENT" if security.secured else "PLAINTEXT"
    nodes = clients if ports.nodes is None else "NODE"
    among_nodes = "SASL_PLAINTEXT" if security.secured else "PLAINTEXT"
    protocols = {clients: security.protocol} | ({} if nodes == clients else {nodes: among_nodes})
    properties = {
        "process.roles": "broker,controller",
        "node.id": str(number),
        "listeners": _listeners(clients, ports),
        "advertised.listeners": _listeners(clients, advertised),
        "listener.security.protocol.map": ",".join(
            f"{name}:{protocol}" for name, protocol in (protocols | {"CONTROLLER": among_nodes}).items()
        ),
        "inter.broker.listener.name": nodes,
        "controller.listener.names": "CONTROLLER",
        "log.dirs": str(log_directory),
        "auto.create.topics.enable": "false",
        "group.initial.rebalance.delay.ms": "0",
        # The registration of a dead broker must expire before the same node can register again. With Kafka's default of
        # 9 s a restart after kill -9 takes up to 14 s. 3 s is still longer than any pause of a 512 MB heap.
        "broker.heartbeat.interval.ms": "500",
        "broker.session.timeout.ms": "3000",
    }
    if security.secured:
        properties |= _log_in_among_nodes(access.node_password)
    if security.tls:
        properties |= _tls(access)
    if security.sasl is not None:
        properties |= _sasl(access, security.sasl)
    return properties | (_ACL if security.acl else {})


def replication(nodes: int) -> dict[str, str]:
    """Each topic on three nodes where there are as many, and written by all of them but one."""
    copies, written = str(min(nodes, 3)), str(max(1, min(nodes, 3) - 1))
    return {
        "default.replication.factor": copies,
        "min.insync.replicas": written,
        "offsets.topic.replication.factor": copies,
        "transaction.state.log.replication.factor": copies,
        "transaction.state.log.min.isr": written,
        "share.coordinator.state.topic.replication.factor": copies,
        "share.coordinator.state.topic.min.isr": written,
    }


def _listeners(clients: str, ports: Ports) -> str:
    named = {clients: ports.clients, "NODE": ports.nodes, "CONTROLLER": ports.controller}
    return ",".join(f"{name}://{HOST}:{port}" for name, port in named.items() if port is not None)


_ACL = {
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "allow.everyone.if.no.acl.found": "false",
    "super.users": f"User:{ADMIN};User:{NODE_USER}",
}


def _log_in_among_nodes(password: str) -> dict[str, str]:
    login = (
        f'{LOGIN_MODULES["plain"]} required username="{NODE_USER}" password="{password}" user_{NODE_USER}="{password}";'
    )
    properties = {"sasl.mechanism.inter.broker.protocol": "PLAIN", "sasl.mechanism.controller.protocol": "PLAIN"}
    for listener in ("node", "controller"):
        properties[f"listener.name.{listener}.sasl.enabled.mechanisms"] = "PLAIN"
        properties[f"listener.name.{listener}.plain.sasl.jaas.config"] = login
    return properties


def _tls(access: Access) -> dict[str, str]:
    presented = "required" if access.security.client_auth else "requested" if access.security.sasl is None else "none"
    return {
        f"listener.name.client.ssl.{name}": value
        for name, value in {
            "keystore.type": "PEM",
            "keystore.location": str(access.server_keystore),
            "truststore.type": "PEM",
            "truststore.location": str(access.ca_file),
            "client.auth": presented,
            "principal.mapping.rules": "RULE:^CN=([^,]+).*$/$1/,DEFAULT",  # the user's name is the common name
        }.items()
    }


def _sasl(access: Access, sasl: str) -> dict[str, str]:
    options = (
        "".join(f' user_{name}="{password}"' for name, password in access.users.items()) if sasl == "plain" else ""
    )
    properties = {"sasl.enabled.mechanisms": ",".join(MECHANISMS[sasl])}
    for mechanism in MECHANISMS[sasl]:
        properties[f"{mechanism.lower()}.sasl.jaas.config"] = f"{LOGIN_MODULES[sasl]} required{options};"
    if sasl == "oauthbearer":
        properties |= {
            "oauthbearer.sasl.server.callback.handler.class": (
                "org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallbackHandler"
            ),
            "oauthbearer.connections.max.reauth.ms": str(LONGEST_LOGIN_MS),
            "sasl.oauthbearer.jwks.endpoint.url": access.key_set_file.as_uri(),
            "sasl.oauthbearer.expected.audience": AUDIENCE,
            "sasl.oauthbearer.expected.issuer": ISSUER,
        }
    return {f"listener.name.client.{name}": value for name, value in properties.items()}


def java_options(access: Access) -> list[str]:
    """Options of Kafka's Java process: Kafka reads keys for tokens only from places that are named here."""
    if access.token_server is None:
        return []
    return [f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={access.key_set_file.as_uri()}"]
