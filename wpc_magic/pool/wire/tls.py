"""One end of a TLS connection without its socket: bytes in, bytes out.

`ssl.SSLSocket` reads from its socket by itself. Then no poll shows what it has received and not returned, and
in a thread that waits there it holds a lock that those need which write.

The end of a connection is not announced: a frame says itself how long it is.
"""

from __future__ import annotations

import json
import os
import ssl
from _thread import RLock

from wpc_magic.pool.wire.anonymous_file import anonymous_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

__all__ = ["Session", "context_of", "private_file", "server_context"]

_SLICE = 1 << 16
"""Bytes that are encrypted at once.

From 128 KiB on, `malloc` maps new pages for each, which takes longer than to encrypt what fills them.
"""
_RECORD = 1 << 14
"""Bytes of the largest record, and so of what is decrypted at once."""


class Session:
    """Encrypts what is sent, and decrypts what was received. Threads may read and write at the same time.

    Parameters
    ----------
    context : ssl.SSLContext
        The certificates, and whether those of the other end are verified.
    server_side : bool
        Whether this is the end that was connected to.
    """

    def __init__(self, context: ssl.SSLContext, *, server_side: bool) -> None:
        self._received, self._unsent = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = context.wrap_bio(self._received, self._unsent, server_side=server_side)
        # Taken anew within itself by a finalizer that prints, between two steps of a read.
        self._lock = RLock()

    def shake_hands(self, data: Any = b"") -> bool:
        """Take in what was received, and return whether the handshake is complete; then send `unsent`.

        Raises
        ------
        ssl.SSLError
            If the ends do not accept each other. What is unsent tells the other end why.
        """
        with self._lock:
            self._received.write(data)
            try:
                self._object.do_handshake()
            except ssl.SSLWantReadError:
                return False
            return True

    def unsent(self) -> bytes:
        """Return what is to be sent now, in order."""
        with self._lock:
            return self._unsent.read()

    def feed(self, data: Any) -> None:
        """Take in what was received."""
        with self._lock:
            self._received.write(data)

    @property
    def has_more(self) -> bool:
        """Whether something was received that was not read, which may be part of a record only."""
        return bool(self._received.pending or self._object.pending())

    def read(self, size: int) -> bytes:
        """Return what was sent, at most so many bytes.

        Raises
        ------
        BlockingIOError
            If nothing more can be read of what was received.
        ssl.SSLError
            If the received bytes are not what the other end has sent, or it refuses this one.
        """
        with self._lock:
            try:
                return self._object.read(min(size, _RECORD))
            except ssl.SSLWantReadError:
                raise BlockingIOError from None

    def read_into(self, view: memoryview) -> int:
        """Read as `read` does, into memory; return how many bytes."""
        with self._lock:
            try:
                return self._object.read(len(view), view)  # type: ignore[return-value]  # it does
            except ssl.SSLWantReadError:
                raise BlockingIOError from None

    def open(self, data: Any) -> bytes:
        """Take in what was received, and return all that can be read of it.

        Raises
        ------
        ssl.SSLError
            As `read` does.
        """
        parts = []
        with self._lock:
            self._received.write(data)
            try:
                while self.has_more:
                    parts.append(self.read(_RECORD))
            except BlockingIOError:
                pass
        return b"".join(parts)

    def seal(self, data: Any) -> Iterable[bytes]:
        """Return what is to be sent for some data; if that is large, it is encrypted while it is taken.

        Raises
        ------
        ssl.SSLError
            If the handshake is not complete.
        """
        if len(data) > _SLICE:
            whole = memoryview(data)
            return (self._sealed(whole[start : start + _SLICE]) for start in range(0, len(whole), _SLICE))
        return (self._sealed(data),) if data else ()

    def _sealed(self, data: Any) -> bytes:
        with self._lock:
            self._object.write(data)
            return self._unsent.read()


def server_context(told: dict[str, Any]) -> ssl.SSLContext:
    """Return the context of the end that is connected to, which asks the other one for its certificate.

    Parameters
    ----------
    told : dict
        The texts ``ca``, ``certificate`` and ``key`` (empty: it is in the certificate's), ``ciphers`` (empty:
        the system's), and the numbers ``oldest`` and ``newest`` (0: any) of versions of TLS.

    Raises
    ------
    OSError, ValueError
        If a text is not what it should be.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    context.num_tickets = 0  # a connection is never resumed
    context.minimum_version = ssl.TLSVersion(told["oldest"] or ssl.TLSVersion.TLSv1_2)
    if told["newest"]:
        context.maximum_version = ssl.TLSVersion(told["newest"])
    if told["ciphers"]:
        context.set_ciphers(told["ciphers"])
    # OpenSSL loads a certificate of one's own from a file only. This has no name, so nobody else finds it.
    fds = []
    try:
        for name in ("ca", "certificate", "key"):
            fds.append(private_file(told[name].encode()))
        ca, certificate, key = (f"/dev/fd/{fd}" for fd in fds)
        context.load_verify_locations(ca)
        context.load_cert_chain(certificate, key if told["key"] else None)
    finally:
        for fd in fds:
            os.close(fd)
    return context


def private_file(data: bytes) -> int:
    """Return the descriptor of a file without a name that contains some data, at its beginning.

    Examples
    --------
    >>> fd = private_file(b"secret")
    >>> os.read(fd, 100)
    b'secret'
    >>> os.close(fd)
    """
    fd = anonymous_file(0, "wpc-tls")
    try:
        with open(fd, "wb", closefd=False) as file:
            file.write(data)
        os.lseek(fd, 0, os.SEEK_SET)
    except BaseException:
        os.close(fd)
        raise
    return fd


def context_of(fd: int) -> ssl.SSLContext:
    """Return the `server_context` that a file describes as JSON, and close the file.

    Raises
    ------
    OSError, ValueError
        As there.
    """
    with open(fd, "rb") as file:
        return server_context(json.load(file))
