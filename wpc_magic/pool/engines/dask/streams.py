"""The sockets between the pool and a host."""

from __future__ import annotations

import socket

__all__ = ["keep_alive"]

_IDLE_S, _PROBE_S, _PROBES = 5, 2, 5


def keep_alive(sock: socket.socket) -> None:
    """Send small messages at once, and have the system notice in some 15 s that the other machine is gone.

    A machine that loses its power, or a network that is cut, closes no connection.

    Examples
    --------
    >>> with socket.socket() as sock:
    ...     keep_alive(sock)
    ...     bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))
    True
    """
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return  # relayed
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", _IDLE_S),
        ("TCP_KEEPINTVL", _PROBE_S),
        ("TCP_KEEPCNT", _PROBES),
        ("TCP_USER_TIMEOUT", 1000 * (_IDLE_S + _PROBE_S * _PROBES)),
    ):
        option = getattr(socket, name, None)  # not every system has them
        if option is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
