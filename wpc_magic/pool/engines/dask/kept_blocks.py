"""The copies of the pool's blocks on a host: filled as they arrive, and lent to the workers there."""

from __future__ import annotations

import _socket
import contextlib
import errno
import mmap
import os
import resource
import time
from collections.abc import Callable
from typing import Any

from ...machine import memory_left
from ...wire.anonymous_file import anonymous_file
from . import messages

__all__ = ["DescriptorLimit", "KeptBlocks"]

_READ = 1 << 16
_PIECE = 1 << 20
_IDLE_S = 5.0  # how long unused memory is kept


class DescriptorLimit:
    """Lets this process have as many descriptors as the system allows it: each block that it keeps is one."""

    def __init__(self) -> None:
        self._before = resource.getrlimit(resource.RLIMIT_NOFILE)
        _, most = self._before
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))

    def give_back(self, pid: int) -> None:
        """Have a process that was started here have the limit that it would have had."""
        if hasattr(resource, "prlimit"):
            with contextlib.suppress(OSError):
                resource.prlimit(pid, resource.RLIMIT_NOFILE, self._before)


class _Copy:
    """Memory for a copy of a block.

    Parameters
    ----------
    size : int
        In bytes; 0: there was no memory for it.
    fd : int
        The descriptor of what a worker has made, which is closed with this.
    """

    def __init__(self, size: int, fd: int = -1) -> None:
        self.size = size
        self.is_own = fd < 0
        self.fd = anonymous_file(size, "wpc-copy") if self.is_own else fd
        self.is_written = not self.is_own
        self.needed = size  # of it, in bytes
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
    look : callable
        Given the number of a worker process, calls `arrived` for the values that it has left here.
    """

    def __init__(
        self, lend: Callable[[int, int, int], object], look: Callable[[int], object] = lambda key: None
    ) -> None:
        self._lend = lend
        self._look = look
        self._last = 0  # number: those up to it were announced
        self._arrived: dict[tuple[int, int], int] = {}  # descriptors of values, by worker and call
        self._forgotten: set[int] = set()  # workers
        self._brought: dict[int, list[tuple[int, int]]] = {}  # who waits for what is not there in full
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

    def receive(self, sock: _socket.socket) -> bool:
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

    def _receive_contents(self, sock: _socket.socket) -> bool:
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
        if what in ("block", "bring", "adopt"):
            self._last = number
        if what == "block":
            size, self._end = rest
            self._number, self._offset = number, 0
            self._filled = self._take(size)
            if self._filled is not None:
                self._copies[number] = self._filled
        elif what == "lend":
            key, lease = rest
            if number in self._brought:
                self._brought[number].append((key, lease))
            else:
                self._lend(key, lease, self._copies.get(number, self._nothing).fd)
        elif what == "adopt":
            self._adopt(number, *rest)
        elif what == "bring":
            copy = self._take(*rest)
            if copy is not None:
                self._copies[number], self._brought[number] = copy, []
        elif what == "forget":
            self._forget(*rest)
        elif what == "free" and (copy := self._copies.pop(number, None)) is not None:
            is_partial = self._brought.pop(number, None) is not None
            self._put_back(copy, is_partial or rest[0])

    # -- values that stay here --------------------------------------------------------------------------

    def arrived(self, key: int, call: int, fd: int) -> None:
        """Take the descriptor of a value that a worker leaves here."""
        if key in self._forgotten and fd >= 0:
            os.close(fd)
        elif fd >= 0:
            self._arrived[key, call] = fd

    def _forget(self, key: int) -> None:
        """Free the values of which the pool has not heard, and never will."""
        self._forgotten.add(key)
        for place in [place for place in self._arrived if place[0] == key]:
            os.close(self._arrived.pop(place))

    def _adopt(self, number: int, key: int, call: int, size: int) -> None:
        """Keep a value of which the pool has heard."""
        self._look(key)
        fd = self._arrived.pop((key, call), -1)
        if fd >= 0:
            self._copies[number] = _Copy(size, fd)

    # -- from host to host ------------------------------------------------------------------------------

    def is_known(self, number: int) -> bool:
        """Whether the pool has said what a number stands for, if only that it is not needed any more."""
        return number <= self._last

    def given(self, number: int) -> tuple[int, int]:
        """Return a descriptor, for the caller to close, and the size of what is to be given to somebody.

        Raises
        ------
        OSError
            If it is not here, or not in full.
        """
        copy = self._copies.get(number)
        if copy is None or number in self._brought:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
        return os.dup(copy.fd), copy.size

    def bring(self, number: int, data: memoryview, offset: int) -> bool:
        """Take a part of what is brought from another host; return False if nobody needs it any more."""
        copy = self._copies.get(number)
        if copy is None or number not in self._brought or offset + len(data) > copy.size:
            return False
        try:
            copy.write(data, offset)
        except OSError:
            return False
        return True

    def brought(self, number: int, size: int) -> None:
        """Note that no more of it comes than so many bytes, and lend it to those who wait."""
        waiting = self._brought.pop(number, None)
        if waiting is None:
            return
        copy = self._copies[number]
        if size < copy.needed:
            self._copies.pop(number).close()
            copy = self._nothing
        else:
            copy.is_written = True
        for key, lease in waiting:
            self._lend(key, lease, copy.fd)

    # -- memory -----------------------------------------------------------------------------------------

    def _take(self, size: int) -> _Copy | None:
        """Return memory for a copy: that of an earlier one, or new."""
        for copy in reversed(self._free):
            if size <= copy.size <= 4 * size:
                self._free.remove(copy)
                copy.needed = size
                return copy
        try:
            if 0 < memory_left() < size:  # to fill it would take more than there is; 0: nobody knows
                return None
            return _Copy(size)
        except OSError:
            return None

    def _put_back(self, copy: _Copy, is_retired: bool) -> None:
        if is_retired or not (copy.is_written and copy.is_own):
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
        for fd in self._arrived.values():
            os.close(fd)
        self._copies.clear()
        self._free.clear()
        self._arrived.clear()
