"""`nextclick broker`: a real Apache Kafka on this machine, in the foreground."""

import signal
import time
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from nextclick.broker import LocalBroker, LocalCluster

DEFAULT_DIRECTORY = Path(".nextclick/broker")


class Sasl(StrEnum):
    """What clients log in with."""

    PLAIN = "plain"
    SCRAM = "scram"
    OAUTHBEARER = "oauthbearer"


def broker(
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Where clients connect; 0 takes a free port.")] = 9092,
    data: Annotated[Path, typer.Option(help="Topics, configuration and log; kept for the next start.")] = (
        DEFAULT_DIRECTORY
    ),
    nodes: Annotated[
        int, typer.Option(min=1, max=5, help="How many nodes, at this port and the next ones; topics get 3 copies.")
    ] = 1,
    tls: Annotated[bool, typer.Option("--tls", help="Encrypt connections, with certificates made here.")] = False,
    sasl: Annotated[Sasl | None, typer.Option(help="Clients log in, with passwords made at the first start.")] = None,
    client_certificates: Annotated[
        bool, typer.Option("--client-certificates", help="With --tls: refuse clients without a certificate.")
    ] = False,
    acl: Annotated[bool, typer.Option("--acl", help="Refuse what no ACL allows, except to the user admin.")] = False,
    user: Annotated[list[str] | None, typer.Option(help="Another user than admin; can be given repeatedly.")] = None,
) -> None:
    """Run Apache Kafka until ctrl-C; neither Docker nor Java is needed.

    With --tls or --sasl, client.properties in the data directory has what the user admin logs in with.
    """
    from rich.console import Console

    from nextclick.broker import LocalBroker, LocalCluster, Security

    security = Security(tls, sasl.value if sasl else None, client_certificates, acl, tuple(user or ()))
    service = (
        LocalBroker(port, data, security=security) if nodes == 1 else LocalCluster(nodes, port, data, security=security)
    )
    for name in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, _interrupt)
    try:
        with Console(stderr=True).status("starting Apache Kafka (fetched once, about 44 MB, at the very first start)"):
            service.start()
        _print_ready(service, data)
        _wait(service)
    except KeyboardInterrupt:
        pass
    finally:
        service.stop()


def _print_ready(service: "LocalBroker | LocalCluster", data: Path) -> None:
    security = service.security
    if not security.secured:
        typer.echo(
            f"Kafka is ready: set NEXTCLICK_BROKER={service.address} (its data and log are in {data}; ctrl-C stops it)"
        )
        return
    typer.echo(f"Kafka is ready (its data and log are in {data}; ctrl-C stops it). To log in as admin, set")
    typer.echo(f"  NEXTCLICK_BROKER={service.address}")
    typer.echo(f"  NEXTCLICK_KAFKA_CONFIG={service.client_properties}")
    for name in security.users:
        typer.echo(f"and as {name}")
        typer.echo(f"  NEXTCLICK_KAFKA_CONFIG={service.access.properties_file_of(name)}")


def _wait(service: "LocalBroker | LocalCluster") -> None:
    """Wait until a node ends by itself.

    Raises:
        BrokerError: one did.
    """
    from schemas.errors import BrokerError

    while (ended := service.ended()) is None:
        time.sleep(0.5)
    raise BrokerError(f"Kafka ended by itself with exit code {ended.wait()}: see {ended.log}")


def _interrupt(signal_number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    raise KeyboardInterrupt
