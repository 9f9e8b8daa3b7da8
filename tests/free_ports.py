"""Ports on which nothing listens."""

import random
import socket


def free_ports(count: int) -> list[int]:
    """Ports that nobody is given by the system meanwhile: below the ephemeral ones."""
    found: list[int] = []
    while len(found) < count:
        port = random.SystemRandom().randrange(15_000, 32_000)
        with socket.socket() as probe:
            if port not in found and probe.connect_ex(("127.0.0.1", port)) != 0:
                found.append(port)
    return found
