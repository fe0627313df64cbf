"""The receiver's side of `blocks`: maps the blocks of one sender, and reports those that are unused.

A block is mapped, or copied if it is small, as soon as the reference to it has been read. So values that
nobody has asked for yet need no descriptors.
"""

from __future__ import annotations

import _socket
import os
import struct
from collections import deque

from wpc_magic.pool.wire.block_ref import FD, LEASE, MAX_PARTS, RETIRED, slice_views
from wpc_magic.pool.wire.leased_memory import Lease, may_keep, set_max_kept
from wpc_magic.pool.wire.mapping_cache import MappingCache
from wpc_magic.pool.wire.native import TooShortError, map_file, memory_at

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from wpc_magic.pool.wire.block_ref import BlockRef, Part
    from wpc_magic.pool.wire.native import Memory

__all__ = ["Receiver", "ShortageError"]

_MIN_MAPPED = 1 << 20  # bytes; below this size a copy is cheaper than a mapping
_WHY = "this machine has no room for them, or the one that had them is lost"
_LOOK_MS = 50  # how often `gives_up` is asked
_MAX_MAPPINGS = 4096  # of one sender; Linux allows a process 65,530 in all
_ROOM = _socket.CMSG_LEN(FD.size * MAX_PARTS)  # `CMSG_SPACE` might admit one more, which would leak
# Set on receipt: another thread may start a program between `recvmsg` and a later system call.
_CLOEXEC: int = getattr(_socket, "MSG_CMSG_CLOEXEC", 0)


class ShortageError(Exception):
    """A block that was sent to this process is lost: it had no descriptor, or no memory, left for it.

    Attributes
    ----------
    lease : int
        The lease, if it is not released yet: the sender may be asked for the contents. 0: it is.
    """

    def __init__(self, message: str, lease: int) -> None:
        super().__init__(message)
        self.lease = lease


class Receiver:
    """Receives the blocks of one sender.

    Parameters
    ----------
    sock : socket
        The block channel. Descriptors are sent before the frame that refers to them, so reading never blocks.
    has_spare : bool
        Whether to hold a descriptor ready for one that is received; else the sender has to be asked for the
        contents where none is left.

    Attributes
    ----------
    gives_up : callable or None
        Where descriptors come another way, and may arrive later than the frame: whether they are not to be
        waited for any longer. None: they are there.
    """

    gives_up: Callable[[], bool] | None = None

    def __init__(self, sock: Any, has_spare: bool = False) -> None:
        self._sock = sock
        self._has_spare = has_spare
        sock.setblocking(False)
        self._fds: dict[int, int] = {}  # received descriptors by lease; -1: it was lost
        self._released: deque[int] = deque()  # appended to by any thread, also by finalizers
        self._mapped: set[int] = set()  # leases
        self._spare = -1
        self._take_spare()
        set_max_kept()
        self.cache = MappingCache()

    def _take_spare(self) -> None:
        """Open a descriptor, which is closed to make room for one that is received."""
        if self._has_spare and self._spare < 0:
            try:
                self._spare = os.dup(self._sock.fileno())
            except OSError:  # none is left
                pass

    def _receive(self) -> None:
        """Read the next descriptors."""
        spare, self._spare = self._spare, -1
        if spare >= 0:
            os.close(spare)
        data, rights, flags, _ = self._sock.recvmsg(LEASE.size * MAX_PARTS, _ROOM, _CLOEXEC)
        if len(data) == LEASE.size and len(rights) == 1 and len(rights[0][2]) == FD.size:  # most often
            (lease,), (fd,) = LEASE.unpack(data), FD.unpack(rights[0][2])
            self._note(lease, fd)
            return
        fds = [fd for _, _, packed in rights for (fd,) in FD.iter_unpack(packed)]
        if not fds or len(fds) * LEASE.size != len(data):
            for fd in fds:
                os.close(fd)
            if not data or len(data) % LEASE.size or not flags & _socket.MSG_CTRUNC:
                raise ConnectionError("a descriptor of shared memory is missing")
            fds = [-1] * (len(data) // LEASE.size)  # this process could not take them
        for (lease,), fd in zip(LEASE.iter_unpack(data), fds, strict=True):
            self._note(lease, fd)

    def _note(self, lease: int, fd: int) -> None:
        if not _CLOEXEC and fd >= 0:
            os.set_inheritable(fd, False)
        before = self._fds.get(lease, -1)  # of a constant that was sent before and never mapped
        if before >= 0:
            os.close(before)
        self._fds[lease] = fd

    def _take(self, lease: int) -> int:
        """Return the descriptor of a block."""
        if lease not in self._fds:
            self._receive_until(lease)
        fd = self._fds.pop(lease)
        if fd < 0:
            raise ShortageError("no file descriptor was left for shared memory", lease)
        return fd

    def _receive_until(self, lease: int) -> None:
        """Read descriptors until that of a lease is there.

        Raises
        ------
        OSError
            If it is not there, or is not waited for any longer.
        """
        while lease not in self._fds:
            try:
                self._receive()
            except BlockingIOError:
                import select  # rarely needed

                if self.gives_up is None or self.gives_up():
                    raise
                arrives = select.poll()
                arrives.register(self._sock, select.POLLIN)
                arrives.poll(_LOOK_MS)

    def wait_for(self, ref: BlockRef) -> bool:
        """Wait until the descriptors of a reference are there; return whether they are."""
        try:
            for lease, _, _ in ref.parts:
                self._receive_until(lease)
        except BlockingIOError:
            return False
        finally:
            self._take_spare()
        return True

    def fetch(self, ref: BlockRef) -> list[memoryview]:
        """Return the buffers of a reference, writable, as memory that no one else writes to.

        Raises
        ------
        ShortageError
            If this process has no descriptor or memory left.
        OSError
            If a descriptor has not arrived, or what it refers to cannot be mapped.
        """
        if len(ref.parts) == 1:
            return self._open(ref.parts[0], ref.spans)
        found: dict[int, memoryview] = {}
        for n, part in enumerate(ref.parts):
            numbers = [number for number, span in enumerate(ref.spans) if span[0] == n]
            try:
                views = self._open(part, [ref.spans[number] for number in numbers])
            except BaseException:
                self.drop(ref._replace(parts=ref.parts[n + 1 :]))
                raise
            found.update(zip(numbers, views, strict=True))
        return [found[number] for number in range(len(ref.spans))]

    def _open(self, part: Part, spans: Sequence[tuple[int, int, int]]) -> list[memoryview]:
        """Return the buffers that are in one block."""
        number, size, exclusive = part
        fd = self._take(number)
        self._take_spare()
        is_kept = False
        try:
            if self.gives_up is not None and not os.fstat(fd).st_size:
                raise ShortageError(f"{size} bytes of memory did not arrive: {_WHY}", number)
            memory = None
            if size >= _MIN_MAPPED:
                # Without the spare this one is the last: nothing more could be received while it is kept.
                keeps = exclusive == 1 and (self._spare >= 0 or not self._has_spare) and may_keep()
                memory = self._map(fd, number, size, keeps)
                is_kept = keeps and memory is not None
            if memory is not None:
                return slice_views([memory], [(0, offset, length) for _, offset, length in spans])
            self._released.append(number)
            return [_copy(fd, offset, length) for _, offset, length in spans]
        except MemoryError:
            raise ShortageError(f"no memory was left for {size} bytes of shared memory", 0) from None
        finally:
            if not is_kept:
                os.close(fd)
                self._take_spare()

    def _map(self, fd: int, number: int, size: int, keeps: bool) -> Memory | None:
        """Map a block, and keep its descriptor, or map it privately; None: there are too many mappings."""
        try:
            if keeps:
                shared = self.cache.map(fd, size)
                memory = memory_at(shared)
                memory.on_freed = Lease(number, self._ended, fd, shared, self.cache.forget)
            elif len(self._mapped) < _MAX_MAPPINGS:
                # The first write to each page of a private mapping costs a fault and a copy, which together
                # take far longer than copying the block at once.
                memory = map_file(fd, size, private=True)
                memory.on_freed = Lease(number, self._ended)
            else:
                return None
        except TooShortError:
            self._released.append(number)
            raise
        except OSError:
            return None
        self._mapped.add(number)
        return memory

    def _ended(self, lease: int) -> None:
        """Queue the release of a lease whose memory was mapped. Finalizers call this, in any thread."""
        self._mapped.discard(lease & ~RETIRED)
        self._released.append(lease)

    def release(self, lease: int) -> None:
        """Queue the release of a lease that is not mapped."""
        self._released.append(lease)

    def share(self, ref: BlockRef) -> list[memoryview]:
        """Return the buffers of a constant, read-only, as memory that all receivers share.

        Raises
        ------
        ShortageError
            If this process has no descriptor left.
        OSError
            As in `fetch`.
        """
        memories = []
        for part in ref.parts:
            fd = self._take(part[0])
            try:
                memories.append(map_file(fd, part[1], writable=False))
            finally:
                os.close(fd)
                self._take_spare()
        return [view.toreadonly() for view in slice_views(memories, ref.spans)]

    def descriptor(self, ref: BlockRef) -> int:
        """Return the descriptor of a block, which is the caller's from now on.

        Raises
        ------
        ShortageError
            If this process has no descriptor left.
        """
        fd = self._take(ref.parts[0][0])
        self._take_spare()
        return fd

    def drop(self, ref: BlockRef) -> None:
        """Release the buffers of a reference that nobody needs."""
        for part in ref.parts:
            try:
                os.close(self._take(part[0]))
            except ShortageError:
                pass
            finally:
                self._take_spare()
            self._released.append(part[0])

    @property
    def mappings(self) -> int:
        """How many mappings of blocks are in use."""
        return len(self._mapped)

    @property
    def has_releases(self) -> bool:
        """Whether releases are queued for the sender."""
        return bool(self._released)

    def releases(self) -> bytes:
        """Return the queued releases, packed for `Sender.released`, and clear the queue."""
        if not self._released:
            return b""
        leases = []
        try:
            while True:  # not `while self._released`: another thread may take the last one in between
                leases.append(self._released.popleft())
        except IndexError:
            pass
        return struct.pack(f"<{len(leases)}Q", *leases)

    def close(self) -> None:
        """Close the descriptors that were never fetched, and empty the cache."""
        self.cache.trim(0.0)
        fds = [self._spare, *self._fds.values()]
        self._spare = -1
        self._fds.clear()
        for fd in fds:
            if fd >= 0:
                os.close(fd)


def _copy(fd: int, offset: int, size: int) -> memoryview:
    copy = left = memoryview(bytearray(size))
    while len(left):
        done = os.preadv(fd, [left], offset)
        if not done:
            raise OSError("the block is shorter than it was said to be")
        left, offset = left[done:], offset + done
    return copy
