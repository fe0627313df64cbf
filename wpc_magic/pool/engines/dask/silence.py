"""Connections that end when nothing can be heard over them for a while.

It runs at both ends, also on machines that need not have the package: it uses nothing of it.
"""

from __future__ import annotations

import math
import socket

__all__ = ["keep_alive"]

_MOST_S = 32_000  # what systems take


def keep_alive(sock: socket.socket, silence_s: float) -> None:
    """Send small messages at once, and have the system notice when the other machine is gone for so long.

    A machine that loses its power, or a network that is cut, closes no connection.

    Examples
    --------
    >>> with socket.socket() as sock:
    ...     keep_alive(sock, 15)
    ...     bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))
    True
    """
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return  # relayed
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    limit_s = min(max(2, math.ceil(silence_s)), _MOST_S)
    idle_s = max(1, limit_s // 3)
    probe_s = max(1, (limit_s - idle_s) // 5)
    for name, value in (
        ("TCP_KEEPIDLE", idle_s),
        ("TCP_KEEPINTVL", probe_s),
        ("TCP_KEEPCNT", math.ceil((limit_s - idle_s) / probe_s)),
        ("TCP_USER_TIMEOUT", 1000 * limit_s),
    ):
        option = getattr(socket, name, None)  # not every system has them
        if option is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
