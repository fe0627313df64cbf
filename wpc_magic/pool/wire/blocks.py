"""Shared memory without names: large buffers cross between the pool and a worker without a socket.

::

    sender                                        receiver
    Store.place: copies buffers into a block
    Sender.send: descriptor ──── block channel ───> Receiver.fetch
    frame: lease, spans ──────── call channel ────> Unmapped.map: values are built on it
                                                     … the last view of the mapping is gone
    Sender.released <─────────── RELEASE frame ──── Receiver.news
    the block is free to be used again

A block has no name, so nothing can be left behind. Its pages are used again and again, because touching
new ones takes several times as long as copying. A block that is for one receiver, and for once, that one may
write to as it is; where the sender may need it again (a call that may be retried), the receiver's mapping is
private: what it writes stays its own. In either case a block is used again only after the last view of it is
gone. What tells so is the object that the views are of: each array holds it, whatever happens to the
memoryviews between.
"""

from __future__ import annotations

import _socket
import mmap
import os
import struct
import time
from _thread import allocate_lock
from collections import deque

from wpc_magic.pool.wire.mappings import Mappings
from wpc_magic.pool.wire.nameless import nameless_file
from wpc_magic.pool.wire.placed import Placed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any


__all__ = ["FOREVER", "LEAST", "Block", "Receiver", "Sender", "Store", "Unmapped", "needed"]

LEAST = 1 << 17
"""Fewer bytes than this go through the socket: it takes less time."""

FOREVER = 1 << 63
"""Leases from here on are never released: those of constants."""

_ALIGN = 64  # of each buffer in its block: a line of the cache, and enough for any vector instruction
_EAGER = 1 << 20  # up to here a copy is cheaper than a mapping
_MOST_MAPPINGS = 256  # each holds a descriptor until Python 3.13
_POPULATE_WRITE = 23  # <linux/mman.h>, since 5.14: copies all pages in one go instead of at a fault for each
_LEASE = struct.Struct("<Q")
_FD = struct.Struct("i")
# From the first moment on: another thread may start a program between two of ours.
_CLOEXEC: int = getattr(_socket, "MSG_CMSG_CLOEXEC", 0)


class Block:
    """Memory of the sender's.

    Parameters
    ----------
    size : int
        In bytes.
    in_memory : bool
        As `nameless_file` has it.

    Attributes
    ----------
    fd : int
        Its descriptor.
    spans : tuple of (int, int)
        Offset and size of each buffer in it.
    store : Store or None
        Where it goes when nobody needs what is in it any more; None: it is closed then.
    """

    __slots__ = ("_fresh", "_holders", "_view", "fd", "idle_since", "size", "spans", "store")

    def __init__(self, size: int, in_memory: bool = True) -> None:
        self.size = size
        self.fd = nameless_file(size, in_memory=in_memory)
        self._fresh = True
        self._view: memoryview | None = None  # of a mapping, once it is used again
        self.spans: tuple[tuple[int, int], ...] = ()
        self.store: Store | None = None
        self._holders = 1
        self.idle_since = 0.0

    def fill(self, buffers: Sequence[Any]) -> None:
        """Copy buffers in, each at a place of its own."""
        offset, spans = 0, []
        for buffer in buffers:
            spans.append((offset, len(buffer)))
            offset += _aligned(len(buffer))
        if self._fresh:
            # New pages are had at half the price if the kernel makes and fills them in one go.
            self._fresh = False
            for (offset, _), buffer in zip(spans, buffers, strict=True):
                _write(self.fd, buffer, offset)
        else:
            view = self._mapped()
            for (offset, size), buffer in zip(spans, buffers, strict=True):
                view[offset : offset + size] = buffer
        self.spans = tuple(spans)

    def _mapped(self) -> memoryview:
        if self._view is None:
            mapping = mmap.mmap(self.fd, self.size)
            _populate(mapping)
            self._view = memoryview(mapping)
        return self._view

    def share(self) -> list[memoryview]:
        """Return the buffers, read-only, in this process."""
        return _cut(mmap.mmap(self.fd, self.size, mmap.MAP_SHARED, mmap.PROT_READ), self.spans)

    def copies(self) -> list[memoryview]:
        """Return copies of the buffers, to be sent another way."""
        view = self._mapped()
        return [memoryview(bytes(view[offset : offset + size])) for offset, size in self.spans]

    def hold(self) -> None:
        """Note that one more needs what is in it."""
        self._holders += 1

    def let_go(self) -> None:
        """Note that one needs it no more; with the last, it is free."""
        self._holders -= 1
        if self._holders:
            return
        if self.store is None:
            self.close()
        else:
            self.store.take_back(self)

    def reuse(self) -> None:
        """Begin again with one holder."""
        self._holders = 1

    def close(self) -> None:
        """Give the memory back; receivers keep what they have mapped."""
        self._view = None
        if self.fd >= 0:
            fd, self.fd = self.fd, -1
            os.close(fd)

    def __del__(self) -> None:
        if getattr(self, "fd", -1) >= 0:
            self.close()


def _aligned(size: int) -> int:
    return -(-size // _ALIGN) * _ALIGN


def _write(fd: int, buffer: Any, offset: int) -> None:
    left = memoryview(buffer)
    while len(left):
        written = os.pwrite(fd, left, offset)
        left, offset = left[written:], offset + written


def _populate(mapping: mmap.mmap) -> None:
    """Have all pages there to be written to, without a fault for each."""
    try:
        mapping.madvise(_POPULATE_WRITE)
    except (OSError, AttributeError):  # an older kernel, or another one: page by page, then
        pass


def needed(buffers: Sequence[Any]) -> int:
    """Return the size of a block for these buffers, in bytes."""
    return sum(_aligned(len(buffer)) for buffer in buffers)


class Store:
    """The blocks of one sender, used again and again. Any thread may call any method.

    Parameters
    ----------
    limit : int
        How many bytes all blocks together may have; what is more goes through the socket.
    in_memory : bool
        As `nameless_file` has it.
    """

    def __init__(self, limit: int, in_memory: bool = True) -> None:
        self.limit = limit
        self.in_memory = in_memory
        self.total = 0
        self._free: list[Block] = []  # the one that was used last is the last: its pages are in the cache
        self._lock = allocate_lock()

    @property
    def has_free(self) -> bool:
        """Whether there is a block that nobody uses."""
        return bool(self._free)

    def place(self, buffers: Sequence[Any]) -> Block | None:
        """Return a block with copies of the buffers, or None if they are to be sent another way."""
        size = needed(buffers)
        if size < LEAST:
            return None
        with self._lock:
            block = self._lease(size)
        if block is None:
            return None
        try:
            block.fill(buffers)
        except OSError:  # a temporary file for which there is no room
            with self._lock:
                self._give_back(block)
            return None
        return block

    def _lease(self, size: int) -> Block | None:
        for block in reversed(self._free):
            if size <= block.size <= 4 * size:
                self._free.remove(block)
                block.reuse()
                return block
        size = _rounded(size)
        while self.total + size > self.limit and self._free:
            self._drop(self._free[0])
        if self.total + size > self.limit:
            return None
        try:
            block = Block(size, self.in_memory)
        except OSError:  # no descriptor or no memory is left
            return None
        block.store = self
        self.total += size
        return block

    def _drop(self, block: Block) -> None:
        self._free.remove(block)
        self._give_back(block)

    def _give_back(self, block: Block) -> None:
        self.total -= block.size
        block.close()

    def take_back(self, block: Block) -> None:
        """Have a block free again; or gone, where the limit is lower by now."""
        with self._lock:
            block.idle_since = time.monotonic()
            self._free.append(block)
            while self.total > self.limit and self._free:
                self._drop(self._free[0])

    def disown(self) -> None:
        """Have a lock of its own, in a fork: another thread may have had the old one."""
        self._lock = allocate_lock()

    def trim(self, idle_s: float) -> None:
        """Give back the blocks that have been free for that long, in seconds."""
        before = time.monotonic() - idle_s
        with self._lock:
            for block in [block for block in self._free if block.idle_since <= before]:
                self._drop(block)


def _rounded(size: int) -> int:
    """Return a size that many needs share: of three significant bits, and whole pages."""
    step = max(mmap.PAGESIZE, 1 << max(0, size.bit_length() - 3))
    return -(-size // step) * step


class Sender:
    """Passes blocks to one receiver, and keeps the books of what that still needs.

    Parameters
    ----------
    sock : socket
        The block channel.
    """

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        sock.setblocking(False)
        self._last = 0
        self._leases: dict[int, Block] = {}

    def send(self, block: Block, lease: int = 0, exclusive: bool = True) -> Placed | None:
        """Pass a block on, and return where its buffers are; None if it cannot be passed now.

        Parameters
        ----------
        block : Block
            Held until the receiver has released it.
        lease : int
            For a block that is never released, a number above `FOREVER`; else 0.
        exclusive : bool
            Whether what is in it is for this receiver alone, and for this once.
        """
        if not lease:
            self._last = lease = self._last + 1
        try:
            rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, _FD.pack(block.fd))
            self._sock.sendmsg([_LEASE.pack(lease)], [rights])
        except (BrokenPipeError, ConnectionResetError):
            pass  # the receiver is gone: nothing is worth a copy any more
        except OSError:  # too many are under way
            return None
        if lease < FOREVER:
            block.hold()
            self._leases[lease] = block
        return Placed(lease, block.size, int(exclusive), block.spans)

    def released(self, packed: Any) -> None:
        """Take the news of leases that are not needed any more, as `Receiver.news` tells it."""
        for (lease,) in _LEASE.iter_unpack(packed):
            block = self._leases.pop(lease, None)
            if block is not None:
                block.let_go()

    def close(self) -> None:
        """Take everything back: the receiver is gone."""
        for block in self._leases.values():
            block.let_go()
        self._leases.clear()


class Mapping(mmap.mmap):
    """Memory of a receiver's, which tells when the last view of it is gone."""

    lease = 0
    receiver: Receiver | None = None

    def __del__(self) -> None:
        if self.receiver is not None:
            self.receiver.gone(self.lease)


class Receiver:
    """Maps what one sender has placed.

    Parameters
    ----------
    sock : socket
        The block channel. A descriptor is sent before the frame that needs it, so nobody waits here.
    """

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        sock.setblocking(False)
        self._here: dict[int, int] = {}  # descriptors by their leases
        self._released: deque[int] = deque()  # appended to by any thread, also by finalizers
        self.mappings = 0
        self.kept = Mappings()

    def fetch(self, placed: Placed) -> Unmapped:
        """Return what was placed, to be mapped when it is needed.

        Raises
        ------
        OSError
            If its descriptor has not come.
        """
        lease = placed.lease
        while lease not in self._here:
            # Room for one descriptor: `CMSG_SPACE` would let a second one in, which nobody knew of.
            data, rights, _, _ = self._sock.recvmsg(_LEASE.size, _socket.CMSG_LEN(_FD.size), _CLOEXEC)
            fds = [fd for _, _, packed in rights for (fd,) in _FD.iter_unpack(packed)]
            if len(data) != _LEASE.size or not fds:
                for fd in fds:
                    os.close(fd)
                raise ConnectionError("a descriptor of shared memory is missing")
            (number,), (fd,) = _LEASE.unpack(data), fds
            os.set_inheritable(fd, False)
            if number in self._here:  # a constant that was sent before, and never mapped
                os.close(self._here[number])
            self._here[number] = fd
        return Unmapped(self, placed, self._here.pop(lease))

    def release(self, lease: int) -> None:
        """Note that a lease is needed no more. Any thread may, also a finalizer."""
        self._released.append(lease)

    def gone(self, lease: int) -> None:
        """Note that a mapping is gone."""
        self.mappings -= 1
        self._released.append(lease)

    @property
    def has_news(self) -> bool:
        """Whether there is something that the sender wants to know."""
        return bool(self._released)

    def news(self) -> bytes:
        """Return which leases are needed no more since the last news, for `Sender.released`."""
        if not self._released:
            return b""
        leases = []
        try:
            while True:  # not as long as there is one: another thread may take it
                leases.append(self._released.popleft())
        except IndexError:
            pass
        return struct.pack(f"<{len(leases)}Q", *leases)

    def close(self) -> None:
        """Close descriptors that nobody has asked for, and let go of what is kept."""
        self.kept.trim(0.0)
        for fd in self._here.values():
            os.close(fd)
        self._here.clear()


class Unmapped:
    """Buffers in a block of another process. They are mapped, or let go when this is dropped."""

    __slots__ = ("_fd", "_lock", "_placed", "_receiver", "_views")

    def __init__(self, receiver: Receiver, placed: Placed, fd: int) -> None:
        self._receiver = receiver
        self._placed = placed
        self._fd = fd
        self._views: list[memoryview] | None = None
        self._lock = allocate_lock()

    def __len__(self) -> int:
        return len(self._placed.spans)

    def map(self) -> list[memoryview]:
        """Return the buffers, writable, as memory that nobody else writes to; the same whenever asked."""
        with self._lock:
            if self._views is None:
                self._views = self._map()
                fd, self._fd = self._fd, -1
                os.close(fd)
            return self._views

    def _map(self) -> list[memoryview]:
        placed, receiver = self._placed, self._receiver
        if placed.size < _EAGER or receiver.mappings >= _MOST_MAPPINGS:
            copies = [_copy(self._fd, span) for span in placed.spans]
            receiver.release(placed.lease)
            return copies
        receiver.mappings += 1
        if placed.exclusive:
            return _cut(
                receiver.kept.view(self._fd, placed.size, lambda: receiver.gone(placed.lease)), placed.spans
            )
        # A page of a private mapping is copied when it is written to first. A fault and a copy for each page
        # cost far more than copying it all at once, so that is for where others need the block as it is.
        mapping = Mapping(self._fd, placed.size, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE)
        mapping.lease, mapping.receiver = placed.lease, receiver
        return _cut(mapping, placed.spans)

    def share(self) -> list[memoryview]:
        """Return the buffers, read-only, as memory that all receivers share; once."""
        fd, self._fd = self._fd, -1
        try:
            mapping = mmap.mmap(fd, self._placed.size, mmap.MAP_SHARED, mmap.PROT_READ)
        finally:
            os.close(fd)
        return _cut(mapping, self._placed.spans)

    def __del__(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._receiver.release(self._placed.lease)


def _copy(fd: int, span: tuple[int, int]) -> memoryview:
    offset, size = span
    copy = left = memoryview(bytearray(size))
    while len(left):
        done = os.preadv(fd, [left], offset)
        if not done:
            raise OSError("the block is shorter than it was said to be")
        left, offset = left[done:], offset + done
    return copy


def _cut(mapping: Any, spans: Sequence[tuple[int, int]]) -> list[memoryview]:
    with memoryview(mapping) as whole:
        return [whole[offset : offset + size] for offset, size in spans]
