"""Frames over a socket with TLS: the ends of `channel`, with the same face."""

from __future__ import annotations

import _socket
import ssl

from wpc_magic.pool.wire.channel import LOST, NO_SIGPIPE, BadFrame, Channel, Reader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from wpc_magic.pool.wire.channel import Bytes, Frame
    from wpc_magic.pool.wire.tls import Session

__all__ = ["SealingSocket", "TlsChannel", "TlsReader", "TlsSocket", "accept"]

_ROOM = 1 << 18
_READ = 1 << 14
_MAX_JOINED = 1 << 15  # bytes


class TlsSocket(_socket.socket):
    """A socket that returns what was decrypted. What is sent goes out as it is: `Session.seal` it before.

    Only `receive` reads from the connection; `recv` and `recv_into` return what that has received.

    Parameters
    ----------
    sock : socket.socket
        The connection, which is detached.
    session : Session
        Its handshake may still be going on.

    Attributes
    ----------
    is_ahead : bool
        Whether more than the handshake was received with its end, and was not read yet.
    """

    __slots__ = ("_buffer", "is_ahead", "session")

    def __init__(self, sock: _socket.socket, session: Session) -> None:
        timeout = sock.gettimeout()
        super().__init__(fileno=sock.detach())
        self.settimeout(timeout)
        self.session = session
        self.is_ahead = False
        self._buffer = memoryview(bytearray(_ROOM))  # its pages are committed only as bytes arrive

    def receive(self) -> bool:
        """Receive once, blocking or not; return False at the end of the connection."""
        if self.is_ahead:  # the other end may wait for an answer to this before it sends any more
            self.is_ahead = False
            return True
        n = super().recv_into(self._buffer)
        self.session.feed(self._buffer[:n])
        return n > 0

    def recv(self, size: int, flags: int = 0) -> bytes:
        """Return what was sent; see `Session.read`."""
        return self.session.read(size)

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        """Read what was sent; see `Session.read_into`."""
        return self.session.read_into(buffer)


class SealingSocket(TlsSocket):
    """A socket that blocks, and encrypts what is sent. One thread at a time may send."""

    __slots__ = ()

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Send all of the data."""
        for sealed in self.session.seal(data):
            super().sendall(sealed, flags)

    def sendmsg(self, buffers: Any, ancdata: Any = (), flags: int = 0, address: Any = None) -> int:
        """Send all of the pieces; return how many bytes they have."""
        for piece in _joined(buffers):
            self.sendall(piece, flags)
        return sum(map(len, buffers))


def _joined(pieces: Sequence[Bytes]) -> Sequence[Bytes]:
    """Return small pieces as one: each is a record, and a system call."""
    if len(pieces) > 1 and sum(map(len, pieces)) <= _MAX_JOINED:
        return [b"".join(pieces)]
    return pieces


class TlsReader(Reader):
    """Reads frames from a `TlsSocket`."""

    __slots__ = ()

    sock: TlsSocket

    def read(self) -> list[Frame]:
        """Receive once, and return the frames that are now complete; see `Reader.read`.

        Everything is read that was received, since a poll shows only what was not.
        """
        sock = self.sock
        try:
            if not sock.receive():
                self.eof = True
                return []
        except OSError as error:
            if error.errno not in LOST:
                raise
            self.eof = True
            return []
        frames: list[Frame] = []
        try:
            while sock.session.has_more:
                frames += super().read()
        except BlockingIOError:  # the rest of a record comes later
            pass
        except ssl.SSLError as error:
            raise BadFrame(f"TLS: {error}") from None
        return frames


class TlsChannel(TlsReader, Channel):
    """The pool's end of a channel; its outbox holds what is encrypted already.

    Parameters
    ----------
    sock : TlsSocket
        The connection. It does not block from now on.
    """

    __slots__ = ()

    def send(self, pieces: list[Bytes]) -> bool:
        """Send what fits into the socket's buffer, queue the rest; return whether everything was sent."""
        seal = self.sock.session.seal
        sent = not self.outbox
        try:
            for piece in _joined(pieces):
                for sealed in seal(piece):
                    # The other end decrypts this while the next is encrypted.
                    sent = super().send([sealed])
        except ssl.SSLError:  # the handshake has failed; that is handled elsewhere
            return True
        return sent


def accept(sock: _socket.socket, context: ssl.SSLContext) -> SealingSocket:
    """Return the end of a connection, on a socket that blocks, when both ends have accepted each other.

    Raises
    ------
    OSError
        If they do not, or the connection ends.
    """
    from wpc_magic.pool.wire.tls import Session

    session = Session(context, server_side=True)
    data = b""
    try:
        while not session.shake_hands(data):
            sock.sendall(session.unsent(), NO_SIGPIPE)
            data = sock.recv(_READ)
            if not data:
                raise OSError("the other end has left during the handshake")
    finally:
        # Also why it was refused.
        try:
            sock.sendall(session.unsent(), NO_SIGPIPE)
        except OSError:
            pass
    sealing = SealingSocket(sock, session)
    sealing.is_ahead = session.has_more
    return sealing
