"""Whether this client may do in Kafka what its roles need. Nothing is tried that changes anything."""

from collections.abc import AsyncIterator

from aiokafka.errors import GroupAuthorizationFailedError, TopicAuthorizationFailedError

from messaging.permissions import Allowed, allowed_on_group, missing
from nextclick.doctor.cluster import Cluster
from nextclick.doctor.finding import Finding, error, not_checked, ok
from nextclick.doctor.roles import groups, topic_operations

CHECK = "permissions"


async def permissions(cluster: Cluster) -> list[Finding]:
    """The operations on topics and consumer groups that are missing."""
    if not cluster.allowed:
        return [not_checked(CHECK, "the broker is older than Kafka 2.8 and does not tell what a client may do")]
    needed = topic_operations(cluster.settings, cluster.roles)
    found = [
        _denied("topic", topic, operations, cluster)
        for topic, needs in needed.items()
        if (operations := _missing(cluster.allowed[topic], needs))
    ]
    found += [finding async for finding in _denied_groups(cluster)]
    roles = ", ".join(cluster.roles)
    return found or [ok(CHECK, f"this client may do what is needed as {roles}")]


async def _denied_groups(cluster: Cluster) -> AsyncIterator[Finding]:
    for group in groups(cluster.settings, cluster.roles):
        allowed = await allowed_on_group(cluster.client, group)
        if allowed.error is GroupAuthorizationFailedError or missing(allowed, ["Read"]):
            yield _denied("group", group, ["Read"], cluster)


def _missing(allowed: Allowed, needs: list[str]) -> list[str]:
    return needs if allowed.error is TopicAuthorizationFailedError else missing(allowed, needs)


def _denied(kind: str, name: str, operations: list[str], cluster: Cluster) -> Finding:
    settings = cluster.settings
    user = settings.sasl_username or "NAME"
    listed = " ".join(f"--operation {operation}" for operation in operations)
    return error(
        CHECK,
        f"this client lacks {' and '.join(operations)} on {kind} {name!r}, which is needed as "
        f"{', '.join(cluster.roles)}",
        f"kafka-acls.sh --bootstrap-server {settings.broker} --add --allow-principal User:{user} {listed} "
        f"--{kind} {name} (or the tool of your cluster); if this client has fewer roles, name them by --role",
    )
