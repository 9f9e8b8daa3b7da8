"""Ports on which nothing listens."""

from nextclick.broker.ports import free_port


def free_ports(count: int) -> list[int]:
    """Different ports of this machine, which the system gives to nobody meanwhile."""
    found: set[int] = set()
    while len(found) < count:
        found.add(free_port("127.0.0.1"))
    return sorted(found)
