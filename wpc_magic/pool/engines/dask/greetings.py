"""Connections to a host process: who makes each of them, and for what."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ...wire.channel import NO_SIGPIPE
from ...wire.tls import Session
from . import messages

if TYPE_CHECKING:
    import ssl

__all__ = ["Greetings"]

_GREETING_S = 20.0  # for the first bytes of a connection, and its handshake
_READ = 1 << 14


class Greetings:
    """Accepts connections, and reads what each begins with.

    The channels of a worker are handed on before their handshakes, which are that worker's.

    Parameters
    ----------
    watch, unwatch : callable
        Have a function called when a socket is readable; have that no more.
    secret : bytes
        What the pool shows that it knows.
    bind : str
        The address to listen at.
    context : ssl.SSLContext or None
        For connections that are encrypted; None: there are none.
    connected : callable
        Given each connection of the pool, with what it is for, for which worker, and its TLS, if that is this
        process's.

    Attributes
    ----------
    port : int
        Where it listens.
    """

    def __init__(
        self,
        watch: Callable[[Any, Callable[[], object]], object],
        unwatch: Callable[[Any], object],
        secret: bytes,
        bind: str,
        context: ssl.SSLContext | None,
        connected: Callable[[socket.socket, int, int, Session | None], object],
    ) -> None:
        self._watch, self._unwatch, self._connected = watch, unwatch, connected
        self._secret, self._context = secret, context
        self._until: dict[socket.socket, float] = {}
        family = socket.AF_INET6 if ":" in bind else socket.AF_INET
        self._listener = socket.create_server((bind, 0), family=family, backlog=1024)
        self._listener.setblocking(False)
        self.port = int(self._listener.getsockname()[1])
        watch(self._listener, self._accept)

    @property
    def is_busy(self) -> bool:
        """Whether any connection has not said yet what it is for."""
        return bool(self._until)

    def close_late_ones(self, now: float) -> None:
        """Close what has had its time."""
        for sock in [sock for sock, until in self._until.items() if now > until]:
            self._done(sock)
            sock.close()

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError:  # it has gone again
            return
        sock.setblocking(False)
        self._until[sock] = time.monotonic() + _GREETING_S
        self._watch(sock, lambda: self._greeted(sock))

    def _done(self, sock: socket.socket) -> None:
        del self._until[sock]
        self._unwatch(sock)

    def _greeted(self, sock: socket.socket) -> None:
        try:
            data = sock.recv(messages.HELLO_SIZE, socket.MSG_PEEK)
            if 0 < len(data) < messages.HELLO_SIZE:
                return  # the rest comes; the time limit ends one that does not
            data = sock.recv(messages.HELLO_SIZE)  # no more: what follows may be for a worker
        except BlockingIOError:
            return
        except OSError:
            data = b""
        purpose = messages.read_hello(self._secret, data)
        if purpose is None or (purpose[0] & messages.SECURE and self._context is None):
            self._done(sock)
            sock.close()
            return
        what, key = purpose
        self._unwatch(sock)
        if what & messages.SECURE and what & ~messages.SECURE not in (messages.CALL, messages.CONTROL):
            assert self._context is not None
            session = Session(self._context, server_side=True)
            self._watch(sock, lambda: self._shake_hands(sock, what, key, session))
        else:
            del self._until[sock]
            self._connected(sock, what, key, None)

    def _shake_hands(self, sock: socket.socket, what: int, key: int, session: Session) -> None:
        try:
            data = sock.recv(_READ)
            if not data:
                raise ConnectionResetError
            try:
                is_done = session.shake_hands(data)
            finally:
                sock.sendall(session.unsent(), NO_SIGPIPE)  # a few kB at most: there is room for it
        except BlockingIOError:
            return
        except OSError:  # without a certificate that is accepted, or gone
            self._done(sock)
            sock.close()
            return
        if is_done:
            self._done(sock)
            self._connected(sock, what, key, session)
