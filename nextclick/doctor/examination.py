"""All checks of a deployment, each with a time-out; those that need a connection to Kafka share one."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from contextlib import AsyncExitStack
from functools import partial

from aiokafka.errors import KafkaError

from messaging.clients import broker_error, quiet_client_log
from messaging.daemon_thread import in_daemon_thread
from messaging.failures import kafka_reason, way_out
from nextclick.doctor.changelog import changelog
from nextclick.doctor.clock import clock
from nextclick.doctor.cluster import Cluster, connected_cluster
from nextclick.doctor.contradictions import contradictions
from nextclick.doctor.finding import Finding, counted, error, from_message, not_checked, ok
from nextclick.doctor.group import group
from nextclick.doctor.machine import device, disk, versions
from nextclick.doctor.models import registry, serving
from nextclick.doctor.permissions import permissions
from nextclick.doctor.roles import Role
from nextclick.doctor.topics import topics
from schemas.errors import NextclickError, RefusedError, SettingsError, one_line
from schemas.settings import Settings

CHECK_SECONDS = 8.0
"""How long one check may take; all of them run at the same time."""

CONNECT_SECONDS = 20.0
"""How long the connection may take, with the question why it fails."""

BROKER, SECURITY = "broker", "security"

Check = Callable[[], Awaitable[list[Finding]]]

OF_THE_CLUSTER: dict[str, Callable[[Cluster], Awaitable[list[Finding]]]] = {
    "permissions": permissions,
    "topics": topics,
    "group": group,
    "changelog": changelog,
    "clock": clock,
    "model": serving,
}


async def examine(settings: Settings, roles: Collection[Role]) -> list[Finding]:
    """Make all checks. Never raises, and never waits longer than `CONNECT_SECONDS` and `CHECK_SECONDS` together."""
    on_this_machine: dict[str, Callable[[], list[Finding]]] = {
        "settings": lambda: contradictions(settings),
        "registry": lambda: registry(settings, roles),
        "device": lambda: device(settings, roles),
        "disk": lambda: disk(settings, roles),
        "versions": versions,
    }
    here = asyncio.gather(
        *(_guarded(name, partial(in_daemon_thread, work, "doctor"), settings) for name, work in on_this_machine.items())
    )
    with quiet_client_log():
        of_the_cluster = await _of_the_cluster(settings, roles)
    first, *rest = await here
    return [*first, *of_the_cluster, *(finding for each in rest for finding in each)]


async def _of_the_cluster(settings: Settings, roles: Collection[Role]) -> list[Finding]:
    async with AsyncExitStack() as stack:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                cluster = await stack.enter_async_context(connected_cluster(settings, roles))
        except (RefusedError, SettingsError) as failure:
            return _unconnected(SECURITY, _message(failure))
        except NextclickError as failure:
            return _unconnected(BROKER, _message(failure))
        except (TimeoutError, KafkaError, OSError) as failure:
            reason = one_line(failure) if str(failure) else f"no answer within {CONNECT_SECONDS:g} s"
            message = f"Kafka at {settings.broker} failed: {reason}: look at the broker's log for the reason"
            return _unconnected(BROKER, message)
        found = [
            ok(
                BROKER,
                f"Kafka answers at {settings.broker}: {counted(cluster.brokers, 'broker')}, {_kafka_version(cluster)}",
            ),
            ok(SECURITY, _security(settings)),
        ]
        checks = (_guarded(name, partial(check, cluster), settings) for name, check in OF_THE_CLUSTER.items())
        return found + [finding for each in await asyncio.gather(*checks) for finding in each]


async def _guarded(name: str, check: Check, settings: Settings) -> list[Finding]:
    """The findings of a check; its failure is one of them."""
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            return await check()
    except TimeoutError:
        return [
            error(
                name,
                f"no answer within {CHECK_SECONDS:g} s",
                "find out why it hangs (network, mount, object store), then run this again",
            )
        ]
    except KafkaError as failure:
        return [from_message(name, str(broker_error(failure, settings, lasting=True)))]
    except NextclickError as failure:
        return [from_message(name, _message(failure))]
    except Exception as failure:
        return [error(name, f"unexpected {type(failure).__name__}: {one_line(failure)}", "run again with --debug")]


def _message(failure: NextclickError) -> str:
    """The line of an error; with a way out also where Kafka's own error may pass by itself."""
    cause = failure.__cause__
    if isinstance(cause, KafkaError) and str(failure).endswith(kafka_reason(cause)):
        return f"{failure}: {way_out(cause)}"
    return str(failure)


def _unconnected(failed: str, message: str) -> list[Finding]:
    """What is known without a connection: which check failed, and that those after it cannot be made."""
    why = "Kafka refuses this client" if failed == SECURITY else "Kafka cannot be used"
    left = OF_THE_CLUSTER if failed == SECURITY else (SECURITY, *OF_THE_CLUSTER)
    return [from_message(failed, message), *(not_checked(name, why) for name in left)]


def _security(settings: Settings) -> str:
    login = f", login by {settings.sasl_mechanism}" if settings.security_protocol.startswith("SASL_") else ""
    user = f" as {settings.sasl_username}" if login and settings.sasl_username else ""
    return f"{settings.security_protocol}{login}{user} is accepted"


def _kafka_version(cluster: Cluster) -> str:
    """The oldest version that has the requests which the broker knows; Kafka does not tell its version."""
    requests: dict[int, tuple[int, int]] = {}
    for connection in cluster.client._client._conns.values():
        requests |= connection._versions or {}
    newest = {key: span[1] for key, span in requests.items()}
    if requests.get(1, (0, 0))[0] >= 4:  # old versions of Fetch were removed
        return "Kafka 4.0 or newer"
    if newest.get(55, -1) >= 1:
        return "Kafka 3.3 or newer"
    return "Kafka 2.8 or newer" if newest.get(3, 0) >= 10 else "older than Kafka 2.8"
