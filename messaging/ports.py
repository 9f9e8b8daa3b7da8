"""Ports of this machine."""

import socket


def why_port_is_taken(address: str, port: int) -> str | None:
    """Why nothing can listen on a port, in the system's words; None where something can."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            return error.strerror or str(error)
    return None
