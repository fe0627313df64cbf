"""What a host process tells the pool, and is told, over a connection of its own: the host's side."""

from __future__ import annotations

import selectors
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import messages

if TYPE_CHECKING:
    from ...wire.tls import Session

__all__ = ["Reports"]

_ROOM = 1 << 22
_READ = 1 << 16


class Reports:
    """Sends messages to the pool without waiting, and receives those that it sends.

    Parameters
    ----------
    selector : selectors.BaseSelector
        Calls what is registered with it.
    sock : socket.socket
        The connection; it does not block.
    session : Session or None
        Its TLS; None: it has none.
    handle : callable
        Given what a message is about, the number of a worker process, and the rest, handles it.
    all_sent : callable
        Called when all has been sent.

    Attributes
    ----------
    is_over : bool
        Whether the connection has ended.
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        sock: socket.socket,
        session: Session | None,
        handle: Callable[..., object],
        all_sent: Callable[[], object],
    ) -> None:
        self._selector, self._sock, self._session = selector, sock, session
        self._handle, self._all_sent = handle, all_sent
        self._received, self._unsent = bytearray(), bytearray()
        self.is_over = False
        self._mask = selectors.EVENT_READ
        selector.register(sock, self._mask, self._ready)

    @property
    def is_behind(self) -> bool:
        """Whether so much waits to be sent that no output is to be read."""
        return len(self._unsent) > _ROOM

    def send(self, *message: Any) -> None:
        """Send a message, now or when there is room for it."""
        packed = messages.pack(message)
        self._unsent += packed if self._session is None else b"".join(self._session.seal(packed))
        self._flush()

    def _flush(self) -> None:
        try:
            while self._unsent:
                del self._unsent[: self._sock.send(self._unsent)]
        except BlockingIOError:
            pass
        except OSError:
            self.is_over = True
        mask = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._unsent else 0)
        if self._mask != mask:
            self._mask = mask
            self._selector.modify(self._sock, mask, self._ready)
        if not self._unsent:
            self._all_sent()

    def _ready(self) -> None:
        if self._unsent:
            self._flush()
        try:
            data = self._sock.recv(_READ)
            if not data:
                raise ConnectionResetError
            self._received += data if self._session is None else self._session.open(data)
        except BlockingIOError:
            return
        except OSError:  # it has ended, or these are not the bytes that the pool has sent
            self.is_over = True
            return
        for what, key, *rest in messages.unpack(self._received):
            self._handle(what, key, *rest)
