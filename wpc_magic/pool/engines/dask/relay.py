"""Carries bytes over a connection of Dask, between a pool and a host process whose port it cannot reach.

It runs at both ends, also on machines that need not have the package: it uses nothing of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any

__all__ = ["pump"]

_CHUNK = 1 << 18
_WINDOW = 1 << 22
"""Bytes that may be under way in one direction of a relay: no end keeps more for one that does not read."""


async def pump(comm: Any, sock: socket.socket, received: asyncio.Event | None = None) -> None:
    """Carry bytes between a connection of Dask and a socket, until both directions have ended.

    Parameters
    ----------
    comm : distributed.comm.Comm
        The connection.
    sock : socket.socket
        The socket, which does not block.
    received : asyncio.Event, optional
        Is set when all has been received that the other side of the connection will ever send.
    """
    relay = _Relay(comm, sock)
    # One direction may end with an error long before the other one has carried the last answer.
    coroutines = relay.outwards(), relay.receive(), relay.inwards(received)
    tasks = out, receiving, into = [asyncio.ensure_future(each) for each in coroutines]
    for task in tasks:
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
    try:
        await into
        await asyncio.wait({out, receiving}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        if received is not None:
            received.set()
        comm.abort()
        sock.close()


class _Relay:
    """One end of what carries bytes over a connection of Dask.

    Dask takes whatever is written to a connection, and keeps it until it can be sent. So each end says how
    much it has passed on, and the other one runs no further ahead than `_WINDOW`.
    """

    def __init__(self, comm: Any, sock: socket.socket) -> None:
        self._comm, self._sock = comm, sock
        self._loop = asyncio.get_running_loop()
        self._writing = asyncio.Lock()
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._ahead = 0
        self._arrived: asyncio.Queue[bytes] = asyncio.Queue()  # the other end keeps to the window

    async def _write(self, message: dict[str, Any]) -> None:
        async with self._writing:
            await self._comm.write(message)

    async def outwards(self) -> None:
        """Send what can be read from the socket."""
        data = b"."
        while data:
            await self._has_room.wait()
            try:
                data = await self._loop.sock_recv(self._sock, _CHUNK)
            except OSError:  # all has been read, and what came for it was not
                data = b""
            self._ahead += len(data)
            if self._ahead >= _WINDOW:
                self._has_room.clear()
            await self._write({"data": data})

    async def receive(self) -> None:
        """Receive, apart from `inwards`: that may wait for a reader which itself waits for room."""
        try:
            while True:
                message = await self._comm.read()
                if "passed_on" in message:
                    self._ahead -= message["passed_on"]
                    if self._ahead < _WINDOW:
                        self._has_room.set()
                else:
                    self._arrived.put_nowait(message["data"])
        finally:
            self._arrived.put_nowait(b"")

    async def inwards(self, received: asyncio.Event | None) -> None:
        """Write what was received to the socket."""
        passed_on = 0
        while data := await self._arrived.get():
            with contextlib.suppress(OSError):  # nobody reads it any more
                await self._loop.sock_sendall(self._sock, data)
            passed_on += len(data)
            if passed_on >= _WINDOW // 4:
                with contextlib.suppress(OSError):  # `receive` notices, too
                    await self._write({"passed_on": passed_on})
                passed_on = 0
        if received is not None:
            received.set()
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)
