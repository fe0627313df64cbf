"""TLS on the connections between the pool and a host."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ...wire.tls import Session
    from ...wire.tls_channel import TlsChannel

__all__ = ["secured", "secured_channels"]

_READ = 1 << 14
_HANDSHAKE_S = 30.0  # of a worker process that has just been started


async def secured(sock: socket.socket, context: Any, limit_s: float) -> Session:
    """Return the pool's end of TLS on a connection, when both ends have accepted each other.

    Parameters
    ----------
    sock : socket.socket
        The connection; it does not block.
    context : ssl.SSLContext
        The certificates.
    limit_s : float
        How long that may take, in seconds.

    Raises
    ------
    OSError
        If they do not, or not in time, or the connection ends.
    """
    from ...wire.tls import Session

    session = Session(context, server_side=False)
    loop = asyncio.get_running_loop()

    async def shake_hands() -> None:
        data, is_done = b"", False
        while not is_done:
            try:
                is_done = session.shake_hands(data)
            finally:
                if unsent := session.unsent():  # also why it was refused
                    await loop.sock_sendall(sock, unsent)
            if not is_done:
                data = await loop.sock_recv(sock, _READ)
                if not data:
                    raise ConnectionResetError("the connection was closed in the midst of its handshake")

    await asyncio.wait_for(shake_hands(), limit_s)
    return session


async def secured_channels(ends: list[socket.socket], context: Any) -> tuple[TlsChannel, TlsChannel]:
    """Return the pool's ends of the channels of a worker process, which is that of their other ends.

    If a handshake fails, its channel is at its end, and the driver finds out what has become of the process.

    Parameters
    ----------
    ends : list of socket.socket
        Its call and its control channel, which are detached.
    context : ssl.SSLContext
        The certificates.
    """
    from ...wire.tls import Session
    from ...wire.tls_channel import TlsChannel, TlsSocket

    async def session(end: socket.socket) -> Session:
        try:
            return await secured(end, context, _HANDSHAKE_S)
        except OSError:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            return Session(context, server_side=False)

    sessions = await asyncio.gather(*(session(end) for end in ends))
    call, control = (TlsChannel(TlsSocket(*each)) for each in zip(ends, sessions, strict=True))
    return call, control
