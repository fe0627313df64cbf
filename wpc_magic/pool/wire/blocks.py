"""Shared memory without names: large buffers cross between the pool and a worker without a socket.

::

    sender                                        receiver
    Store.lease ── block ── copy buffers in
    Sender.send: descriptor ──── block channel ───> Receiver.take: map it, copy-on-write
    frame: lease, spans ──────── call channel ────> values are built on the mapping
                                                     … the last view of the mapping is gone
    Store.release <──────────── RELEASE frame ────── Receiver.released
    the block is free to be used again

A block has no name, so nothing can be left behind. Its pages are used again and again, because touching new
ones takes several times as long as copying. The receiver's mapping is private: what it writes stays its own.
But it would see what the sender writes into pages that it has not touched yet, so a block is used again only
after the last view is gone. What tells so is the mapping object itself: each array holds it, whatever happens
to the memoryviews between.
"""

from __future__ import annotations

import mmap
import os
import struct

import _socket

from wpc_magic.pool.wire.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Sequence
    from typing import Any


__all__ = ["Block", "Placed", "Receiver", "Sender", "Store", "nameless_file"]

ALIGN = 64  # of each buffer in its block: a line of the cache, and enough for any vector instruction
_EAGER = 1 << 20  # up to here a copy is cheaper than a mapping
_MOST_MAPPINGS = 256  # each holds a descriptor until Python 3.13
_POPULATE_WRITE = 23  # <linux/mman.h>, since 5.14: copies all pages in one go instead of at a fault for each
_LEASE = struct.Struct("<Q")


def nameless_file(size: int, name: str = "wpc-block", in_memory: bool = True) -> int:
    """Return the descriptor of memory that has no name, and so cannot be left behind.

    Parameters
    ----------
    size : int
        In bytes.
    name : str
        What ``/proc`` shows.
    in_memory : bool
        Whether it is a memfd; else, and where there is none, an unlinked temporary file.
    """
    if in_memory and hasattr(os, "memfd_create"):
        fd = os.memfd_create(name, os.MFD_CLOEXEC)
    else:
        import tempfile

        fd, path = tempfile.mkstemp(prefix="wpc")
        os.unlink(path)
    try:
        os.ftruncate(fd, size)
    except BaseException:
        os.close(fd)
        raise
    return fd


class Placed(NamedTuple):
    """Where the buffers of a frame are.

    Parameters
    ----------
    lease : int
        Which sending of a block this is.
    size : int
        The size of the block, in bytes.
    spans : tuple of (int, int)
        Offset and size of each buffer, in bytes.
    """

    lease: int
    size: int
    spans: tuple[tuple[int, int], ...]


class Block:
    """Memory of the sender's.

    Attributes
    ----------
    fd : int
        Its descriptor.
    size : int
        In bytes.
    holders : int
        How many still need what is in it: the call itself, and each receiver that it was sent to.
    idle_since : float
        When it became free, in seconds.
    """

    __slots__ = ("_map", "fd", "holders", "idle_since", "size", "spans", "view")

    def __init__(self, size: int, in_memory: bool = True) -> None:
        self.size = size
        self.fd = nameless_file(size, in_memory=in_memory)
        try:
            self._map = mmap.mmap(self.fd, size)
        except BaseException:
            os.close(self.fd)
            raise
        self.view = memoryview(self._map)
        self.spans: tuple[tuple[int, int], ...] = ()
        self.holders = 0
        self.idle_since = 0.0

    def fill(self, buffers: Sequence[Any]) -> None:
        """Copy buffers in; `spans` tells where they are."""
        offset, spans = 0, []
        for buffer in buffers:
            size = len(buffer)
            self.view[offset : offset + size] = buffer
            spans.append((offset, size))
            offset += -(-size // ALIGN) * ALIGN
        self.spans = tuple(spans)

    def forget_mapping(self) -> None:
        """Unmap it here; receivers still can map it."""
        if self.view is not None:
            self.view.release()
            self.view = None  # type: ignore[assignment]
            self._map.close()

    def close(self) -> None:
        """Give the memory back; receivers keep what they have mapped."""
        self.forget_mapping()
        if self.fd >= 0:
            fd, self.fd = self.fd, -1
            os.close(fd)

    def __del__(self) -> None:
        if getattr(self, "fd", -1) >= 0:
            self.close()


def needed(buffers: Sequence[Any]) -> int:
    """Return the size of a block for these buffers, in bytes."""
    return sum(-(-len(buffer) // ALIGN) * ALIGN for buffer in buffers)


class Store:
    """The blocks of one sender: leased, and used again. Not safe for several threads by itself.

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

    def lease(self, size: int) -> Block | None:
        """Return a block of at least `size` bytes with one holder, or None if the limit is reached."""
        best = None
        for block in self._free:
            if size <= block.size <= 4 * size and (best is None or block.size <= best.size):
                best = block
        if best is not None:
            self._free.remove(best)
        else:
            size = _rounded(size)
            if not self._make_room(size):
                return None
            try:
                best = Block(size, self.in_memory)
            except OSError:  # no descriptor or no memory is left: then not this way
                return None
            self.total += size
        best.holders = 1
        return best

    def _make_room(self, size: int) -> bool:
        while self.total + size > self.limit and self._free:
            self._drop(self._free[0])
        return self.total + size <= self.limit

    def _drop(self, block: Block) -> None:
        self._free.remove(block)
        self.total -= block.size
        block.close()

    def let_go(self, block: Block, now: float) -> None:
        """Note that one holder needs a block no more; with the last it is free."""
        block.holders -= 1
        if not block.holders:
            block.idle_since = now
            self._free.append(block)

    def trim(self, before: float) -> None:
        """Give back the blocks that have been free since `before`, in seconds."""
        for block in [block for block in self._free if block.idle_since <= before]:
            self._drop(block)

    @property
    def next_trim(self) -> float | None:
        """Since when the block has been free that has been free for longest; None: there is none."""
        return min((block.idle_since for block in self._free), default=None)

    def close(self) -> None:
        """Give back every free block; the others go with their last holder's news, or with this process."""
        self.trim(float("inf"))


def _rounded(size: int) -> int:
    """Return a size that many needs share: with three bits of precision, and whole pages."""
    step = max(mmap.PAGESIZE, 1 << max(0, size.bit_length() - 3))
    return -(-size // step) * step


class Sender:
    """Passes descriptors to one receiver.

    Parameters
    ----------
    sock : socket
        The block channel; it must not block.
    """

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self._last = 0

    def send(self, block: Block) -> int:
        """Pass a block on, and return the number of this lease; 0 if it cannot be passed now."""
        self._last += 1
        try:
            rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, struct.pack("i", block.fd))
            self._sock.sendmsg([_LEASE.pack(self._last)], [rights])
        except OSError:  # too many are under way, or the receiver is gone
            return 0
        return self._last


class Mapping(mmap.mmap):
    """Memory of a receiver's, which tells when the last view of it is gone."""

    lease = 0
    gone: Callable[[int], object] | None = None

    def __del__(self) -> None:
        if self.gone is not None:
            self.gone(self.lease)


class Receiver:
    """Maps what one sender has placed.

    Parameters
    ----------
    sock : socket
        The block channel. A descriptor is sent on it before the frame that needs it.
    released : deque
        Takes the numbers of the leases that are not needed any more; from any thread, also from finalizers.
    """

    def __init__(self, sock: Any, released: deque[int]) -> None:
        self._sock = sock
        self._released = released
        self._here: dict[int, int] = {}  # descriptors by their leases
        self._mapped = [0]  # how many mappings there are

    def fetch(self, lease: int) -> int:
        """Return the descriptor of a lease; the caller closes it.

        Raises
        ------
        ConnectionError
            If it has not come.
        """
        while lease not in self._here:
            data, rights, _, _ = self._sock.recvmsg(_LEASE.size, _socket.CMSG_SPACE(4))
            if len(data) != _LEASE.size or not rights:
                raise ConnectionError("a descriptor is missing")
            (number,) = _LEASE.unpack(data)
            (fd,) = struct.unpack("i", rights[0][2][:4])
            os.set_inheritable(fd, False)
            self._here[number] = fd
        return self._here.pop(lease)

    def drop(self, lease: int) -> None:
        """Let go of a lease that nobody will map."""
        os.close(self.fetch(lease))
        self._released.append(lease)

    def views(self, placed: Placed, fd: int, written: bool = False) -> list[Any]:
        """Return the buffers of a lease, writable, as memory that nobody else writes to; closes `fd`.

        Parameters
        ----------
        placed : Placed
            Where they are.
        fd : int
            The descriptor that `fetch` returned.
        written : bool
            Whether all of it will most likely be written to.
        """
        size = placed.size
        try:
            if size < _EAGER or self._mapped[0] >= _MOST_MAPPINGS:
                return self._copies(placed, fd)
            mapping = Mapping(fd, size, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE)
        finally:
            os.close(fd)
        mapping.lease = placed.lease
        mapping.gone = self._gone
        self._mapped[0] += 1
        if written:
            try:
                mapping.madvise(_POPULATE_WRITE)
            except (OSError, AttributeError):  # an older kernel: page by page, then
                pass
        return _cut(mapping, placed.spans)

    def _gone(self, lease: int) -> None:
        self._mapped[0] -= 1
        self._released.append(lease)

    def _copies(self, placed: Placed, fd: int) -> list[Any]:
        with mmap.mmap(fd, placed.size, mmap.MAP_SHARED, mmap.PROT_READ) as shared:
            views = _cut(shared, placed.spans)
            copies = [bytearray(view) for view in views]
            for view in views:
                view.release()
        self._released.append(placed.lease)
        return copies

    def constant(self, placed: Placed, fd: int) -> list[Any]:
        """Return the buffers of a constant, read-only, as memory that all workers share; closes `fd`."""
        try:
            return _cut(mmap.mmap(fd, placed.size, mmap.MAP_SHARED, mmap.PROT_READ), placed.spans)
        finally:
            os.close(fd)

    def close(self) -> None:
        """Close descriptors that nobody has asked for."""
        for fd in self._here.values():
            os.close(fd)
        self._here.clear()


def _cut(mapping: Any, spans: Sequence[tuple[int, int]]) -> list[Any]:
    whole = memoryview(mapping)
    return [whole[offset : offset + size] for offset, size in spans]


