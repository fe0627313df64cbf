"""The copies of the pool's blocks on a host: filled as they arrive, and lent to the workers there."""

from __future__ import annotations

import mmap
import os
import socket
import time
from collections.abc import Callable
from typing import Any

from ...machine import usable_memory
from ...wire.anonymous_file import anonymous_file
from . import messages

__all__ = ["KeptBlocks"]

_READ = 1 << 16
_PIECE = 1 << 20
_IDLE_S = 5.0  # how long unused memory is kept


class _Copy:
    """Memory for a copy of a block.

    Parameters
    ----------
    size : int
        In bytes; 0: there was no memory for it.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.fd = anonymous_file(size, "wpc-copy")
        self.is_written = False
        self.free_since = 0.0
        self._view: memoryview | None = None

    def memory(self) -> memoryview:
        """Return it as memory."""
        if self._view is None:
            self._view = memoryview(mmap.mmap(self.fd, self.size))
        return self._view

    def write(self, data: memoryview, offset: int) -> None:
        """Write a part of the contents; new pages are made by the system in the same step.

        Raises
        ------
        OSError
            If there is no memory for them.
        """
        while data:
            done = os.pwrite(self.fd, data, offset)
            data, offset = data[done:], offset + done

    def close(self) -> None:
        """Free it; workers keep what they have mapped."""
        self._view = None
        os.close(self.fd)


class KeptBlocks:
    """Keeps copies of the blocks of one pool.

    Parameters
    ----------
    lend : callable
        Given the number of a worker process, that of a lease, and a descriptor, passes that on.
    """

    def __init__(self, lend: Callable[[int, int, int], object]) -> None:
        self._lend = lend
        self._copies: dict[int, _Copy] = {}
        self._free: list[_Copy] = []  # whose pages are there, and can be used again
        self._received = bytearray()
        self._number = 0
        self._filled: _Copy | None = None  # that of this number
        self._offset = self._end = 0
        self._scratch = memoryview(bytearray(_PIECE))
        self._nothing = _Copy(0)  # to be lent where there is no memory

    @property
    def has_free(self) -> bool:
        """Whether there is memory that nobody uses."""
        return bool(self._free)

    @property
    def count(self) -> int:
        """How many copies there are."""
        return len(self._copies)

    def receive(self, sock: socket.socket) -> bool:
        """Receive once from the connection of the pool; return whether it is still open.

        Raises
        ------
        OSError
            If it is broken.
        """
        try:
            if self._offset < self._end:
                return self._receive_contents(sock)
            data = sock.recv(_READ)
        except BlockingIOError:
            return True
        self._received += data
        self._handle_received()
        return bool(data)

    def _receive_contents(self, sock: socket.socket) -> bool:
        copy = self._filled
        if copy is not None and copy.is_written:  # its pages are there, and nothing is copied again
            count = sock.recv_into(copy.memory()[self._offset : min(self._end, self._offset + _PIECE)])
        else:
            count = sock.recv_into(self._scratch[: self._end - self._offset])
            self._write(self._scratch[:count])
        self._advance(count)
        return count > 0

    def _write(self, data: memoryview) -> None:
        """Write a part of the contents to new memory, unless there is none."""
        if self._filled is None:
            return
        try:
            self._filled.write(data, self._offset)
        except OSError:  # none is left
            self._copies.pop(self._number).close()
            self._filled = None

    def _advance(self, count: int) -> None:
        self._offset += count
        if self._offset == self._end and self._filled is not None:
            self._filled.is_written = True
            self._filled = None

    def _handle_received(self) -> None:
        """Handle the messages that are there in full, and take what follows one as contents of a block."""
        while self._received:
            if self._offset < self._end:
                part = bytes(self._received[: self._end - self._offset])
                self._write(memoryview(part))
                del self._received[: len(part)]
                self._advance(len(part))
                continue
            message = messages.unpack_first(self._received)
            if message is None:
                return
            self._handle(*message)

    def _handle(self, what: str, number: int, *rest: Any) -> None:
        if what == "block":
            size, self._end = rest
            self._number, self._offset = number, 0
            self._filled = self._take(size)
            if self._filled is not None:
                self._copies[number] = self._filled
        elif what == "lend":
            key, lease = rest
            self._lend(key, lease, self._copies.get(number, self._nothing).fd)
        elif what == "free" and (copy := self._copies.pop(number, None)) is not None:
            self._put_back(copy, *rest)

    def _take(self, size: int) -> _Copy | None:
        """Return memory for a copy: that of an earlier one, or new."""
        for copy in reversed(self._free):
            if size <= copy.size <= 4 * size:
                self._free.remove(copy)
                return copy
        try:
            if size > usable_memory():  # to fill it would take all there is
                return None
            return _Copy(size)
        except OSError:
            return None

    def _put_back(self, copy: _Copy, is_retired: bool) -> None:
        if is_retired or not copy.is_written:
            copy.close()
            return
        copy.free_since = time.monotonic()
        self._free.append(copy)

    def trim(self, now: float) -> None:
        """Free the memory that has been unused for a while."""
        while self._free and now > self._free[0].free_since + _IDLE_S:
            self._free.pop(0).close()

    def close(self) -> None:
        """Free everything."""
        for copy in (*self._copies.values(), *self._free, self._nothing):
            copy.close()
        self._copies.clear()
        self._free.clear()
