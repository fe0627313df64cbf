"""A TCP proxy that goes bad on demand: silent, deaf, slow, or cut. For tests of networks that vanish."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from typing import Any

__all__ = ["Proxy"]

_PIECE = 1 << 16
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: what is closed is reset


class _Pair:
    """One connection through the proxy: the client's end, and the one to the target."""

    def __init__(self, client: socket.socket, target: socket.socket) -> None:
        self.ends = client, target
        self.pumping = 2
        self.is_reset = False

    def cut(self, hard: bool) -> None:
        """Wake the threads that read these ends; they close them."""
        self.is_reset = hard
        for end in self.ends:
            with contextlib.suppress(OSError):
                if hard:
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                end.shutdown(socket.SHUT_RD if hard else socket.SHUT_RDWR)

    def close(self) -> None:
        for end in self.ends:
            end.close()


class Proxy:
    """Forwards connections to a target until it is told to do something else.

    Parameters
    ----------
    target : tuple
        Host and port.

    Attributes
    ----------
    address : tuple
        Host and port at which it listens.
    forwarded : int
        How many bytes have passed, in both directions.
    """

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address: tuple[str, int] = self._listener.getsockname()
        self.forwarded = 0
        self._changed = threading.Condition()
        self._silent = self._deaf = self._hard = self._closed = False
        self._delay_s = 0.0
        self._left: int | None = None  # how many bytes may still pass
        self._pairs: list[_Pair] = []
        self._threads: list[threading.Thread] = []
        self._run(self._accept)

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def connections(self) -> int:
        """How many connections are open."""
        with self._changed:
            return len(self._pairs)

    # -- what goes wrong ----------------------------------------------------------------------------------

    def go_silent(self) -> None:
        """Let nothing pass, and end nothing, not even what an end closes: a cable that is pulled."""
        with self._changed:
            self._silent = True

    def go_deaf(self) -> None:
        """Take all bytes, and forward none of them."""
        with self._changed:
            self._deaf = True

    def slow_down(self, seconds: float) -> None:
        """Hold each piece, of 64 KiB at most, back for so long."""
        with self._changed:
            self._delay_s = seconds

    def cut(self, after: int = 0, hard: bool = False) -> None:
        """End all connections as soon as so many more bytes have passed, with a reset if it is `hard`."""
        with self._changed:
            self._left, self._hard = after, hard
            if not after:
                self._cut_all()

    def heal(self) -> None:
        """Forward again: first what was held back. What was cut stays so."""
        with self._changed:
            self._silent = self._deaf = self._hard = False
            self._delay_s, self._left = 0.0, None
            self._changed.notify_all()

    def close(self) -> None:
        """End all connections, and wait for the threads."""
        with self._changed:
            self._closed, self._hard = True, False
            self._changed.notify_all()
            self._cut_all()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._listener.close()
        while self._threads:
            self._threads.pop().join()

    # -- internals ----------------------------------------------------------------------------------------

    def _run(self, function: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=function, args=args, name="proxy", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _cut_all(self) -> None:
        for pair in self._pairs:
            pair.cut(self._hard)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # the listener is closed
                return
            with self._changed:
                self._changed.wait_for(lambda: not self._silent or self._closed)
                if self._closed or self._left == 0:
                    client.close()
                    continue
            try:
                target = socket.create_connection(self._target)
            except OSError:
                client.close()
                continue
            pair = _Pair(client, target)
            with self._changed:
                self._pairs.append(pair)
                if self._closed:
                    pair.cut(False)
                self._run(self._pump, pair, client, target)
                self._run(self._pump, pair, target, client)

    def _pump(self, pair: _Pair, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(_PIECE):
                sink.sendall(self._let_pass(piece))
                with self._changed:
                    if self._left == 0:
                        self._cut_all()
        with self._changed:
            self._changed.wait_for(lambda: not self._silent or self._closed)
            pair.pumping -= 1
            if pair.pumping:
                if not pair.is_reset:
                    with contextlib.suppress(OSError):
                        sink.shutdown(socket.SHUT_WR)
            else:
                pair.close()
                self._pairs.remove(pair)

    def _let_pass(self, piece: bytes) -> bytes:
        """Return what of a piece is forwarded, when it may be."""
        with self._changed:
            if self._delay_s:
                self._changed.wait_for(lambda: self._closed, self._delay_s)
            self._changed.wait_for(lambda: not self._silent or self._closed)
            if self._deaf or self._closed:
                return b""
            if self._left is not None:
                piece = piece[: self._left]
                self._left -= len(piece)
            self.forwarded += len(piece)
            return piece
