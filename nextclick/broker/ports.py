"""Free ports for nodes that must find them free again after a restart."""

import random

from messaging.ports import why_port_is_taken

PORTS = range(15_000, 32_000)
"""Below those that the system gives to outgoing connections: else one could take the port of a node that is down."""


def free_port(host: str) -> int:
    """A port of this host that nothing listens on."""
    while True:
        port = random.SystemRandom().choice(PORTS)
        if why_port_is_taken(host, port) is None:
            return port
