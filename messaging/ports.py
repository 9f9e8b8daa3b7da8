"""TCP ports of this machine."""

import socket


def why_port_is_taken(address: str, port: int) -> str | None:
    """The system's reason why a process cannot listen on a port; None if it can."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            return error.strerror or str(error)
    return None
