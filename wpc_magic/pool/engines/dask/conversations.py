"""What the pool and a host process tell each other, over a connection of its own: the pool's side."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from . import messages

if TYPE_CHECKING:
    from ...wire.tls import Session

__all__ = ["Conversation"]

_LISTENS = 10
_READ = 1 << 18


class Conversation:
    """Sends messages to a host process, and receives those that it sends. All of it runs in one event loop.

    Parameters
    ----------
    sock : socket.socket
        The connection; it does not block.
    session : Session or None
        Its TLS; None: it has none.
    handle : callable
        Given what a message is about, the number of a worker process, and the rest, handles it.

    Attributes
    ----------
    greeted : asyncio.Future
        What the host calls itself, when it has told that.
    """

    def __init__(
        self, sock: socket.socket, session: Session | None, handle: Callable[..., Awaitable[None]]
    ) -> None:
        self._sock, self._session, self._handle = sock, session, handle
        self._loop = asyncio.get_running_loop()
        self.greeted: asyncio.Future[str] = self._loop.create_future()
        self._unsent: asyncio.Queue[bytes] = asyncio.Queue()
        self._is_heard = self._is_handling = False

    def send(self, packed: bytes) -> None:
        """Send a packed message, soon."""
        self._unsent.put_nowait(packed)

    async def write(self) -> None:
        """Write what is to be sent, until the connection ends."""
        with contextlib.suppress(OSError):  # `read` notices, too
            while True:
                message = await self._unsent.get()
                for piece in [message] if self._session is None else self._session.seal(message):
                    await self._loop.sock_sendall(self._sock, piece)

    async def read(self) -> None:
        """Handle what is received, until the connection ends."""
        received, session = bytearray(), self._session
        with contextlib.suppress(OSError):
            while data := await self._loop.sock_recv(self._sock, _READ):
                received += data if session is None else session.open(data)
                self._is_heard = self._is_handling = True
                for what, key, *rest in messages.unpack(received):
                    if what != "hello":
                        await self._handle(what, key, *rest)
                    elif not self.greeted.done():
                        self.greeted.set_result(key)
                self._is_handling = False
        if not self.greeted.done():
            self.greeted.set_exception(OSError("the connection was closed"))

    async def silence(self, silence_s: float) -> None:
        """Return when nothing was heard for so long: a host tells at least once a second that it lives.

        The system notices a machine that is gone, and no process there that stands still. It is not the clock
        that counts, since this loop may stand still itself, and has heard nothing meanwhile.
        """
        quiet = 0
        while quiet < _LISTENS:
            self._is_heard = False
            await asyncio.sleep(silence_s / _LISTENS)
            quiet = 0 if self._is_heard or self._is_handling else quiet + 1

    def close(self) -> None:
        """Close the connection."""
        self._sock.close()
