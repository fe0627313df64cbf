"""Blocks of shared memory: large buffers pass between the pool and a worker without going through a socket.

::

    sender                                        receiver (`block_receiver`)
    BlockStore.put: copies buffers into a block
    Sender.send: descriptor ──── block channel ───> Receiver.fetch: maps it, and closes the descriptor;
    frame: leases, spans ─────── call channel ────>   values are built on the mapping
                                                     … the last view of the mapping is freed
    Sender.released <─────────── RELEASE frame ──── Receiver.releases
    the block is free for reuse (`block_store`)

A block is an anonymous file, so nothing can be left behind. Blocks are reused, because touching new pages
takes several times as long as copying. A receiver may write directly to a block that is sent only once and
only to it; where the contents are needed again (a call that may be retried, a buffer that other calls have,
too), the receiver's mapping is copy-on-write. In either case a block is reused only after the last view of it
is freed. The object that exports the buffer detects this: each array refers to it, whatever happens to the
memoryviews between.

While a block is in use the sender holds its descriptor. So a store has no more of them than a part of what
the system allows (`block_store`); what exceeds that goes through the socket.
"""

from __future__ import annotations

import os

from wpc_magic.pool.wire.anonymous_file import anonymous_file, reserve
from wpc_magic.pool.wire.block_ref import slice_views
from wpc_magic.pool.wire.native import equal, map_file, populate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Protocol, Self

    from wpc_magic.pool.wire.native import Memory

    class Owner(Protocol):
        """What a block knows of its store."""

        def lend(self, block: Block, exclusive: bool) -> bool:
            """Add a holder, which may write to the block if the result is true."""

        def release(self, block: Block) -> None:
            """Remove a holder."""

    class Keeper(Protocol):
        """What keeps copies of blocks on another machine."""

        def free(self, number: int, is_retired: bool) -> None:
            """Free a copy, which must not be used again if it is retired. Also a finalizer may call this."""


__all__ = ["MIN_BLOCK_SIZE", "PERMANENT_LEASES", "Block", "Placed", "block_size"]

MIN_BLOCK_SIZE = 1 << 17
"""Buffers of fewer bytes go through the socket, because that is faster."""

PERMANENT_LEASES = 1 << 63
"""Leases from this number on are never released: those of constants."""

_ALIGN = 64  # of each buffer in its block: a cache line, and enough for any vector instruction


class Block:
    """A block of shared memory, owned by the sender.

    Parameters
    ----------
    size : int
        In bytes.
    in_memory : bool
        As in `anonymous_file`.

    Attributes
    ----------
    fd : int
        Its descriptor.
    store : BlockStore or None
        The store that it belongs to; None: it is closed with its last holder.
    holders : int
        Who needs it: calls, and receivers that have a lease.
    is_retired : bool
        Whether it must not be used again.
    is_given, is_common : bool
        Whether its receiver may write to it; whether none may, since other calls are likely to have the same.
    keys : list
        By what the store finds the buffers in it.
    used : int
        How much of it contains anything, in bytes.
    copies : dict or None
        Who has copies of its contents on other machines; each is told when they are no longer needed.
    """

    __slots__ = (
        "__weakref__",
        "_memory",
        "_pid",
        "_view",
        "_written",
        "copies",
        "fd",
        "holders",
        "idle_since",
        "is_common",
        "is_fixed",
        "is_given",
        "is_retired",
        "keys",
        "size",
        "store",
        "used",
    )

    def __init__(self, size: int, in_memory: bool = True) -> None:
        self.size = size
        self.used = 0
        self.copies: dict[Keeper, int] | None = None
        self._pid = os.getpid()
        self.fd = anonymous_file(size, in_memory=in_memory)
        self._written = False
        self._memory: Memory | None = None  # mapped from the first reuse on
        self._view: memoryview | None = None
        self.store: Owner | None = None
        self.holders = 1
        self.is_retired = self.is_given = self.is_common = self.is_fixed = False
        self.keys: list[Any] = []
        self.idle_since = 0.0

    def fill(self, buffers: Sequence[Any]) -> tuple[tuple[int, int, int], ...]:
        """Copy buffers into the block, one after another; return spans as of `Placed`.

        Raises
        ------
        OSError
            If there is no room for them.
        """
        view = self._mapped() if self._written else None
        end, spans = 0, []
        for buffer in buffers:
            size = len(buffer)
            if view is None:
                # New pages cost half as much if the kernel allocates and fills them in one system call.
                _write(self.fd, buffer, end)
            else:
                view[end : end + size] = buffer
            spans.append((0, end, size))
            end += -(-size // _ALIGN) * _ALIGN
        if view is None:
            # The rest is written to through a mapping later, where it is too late for an error: reserved now.
            reserve(self.fd, end, self.size - end)
            self._written = True
        self.used = end
        return tuple(spans)

    def _mapped(self) -> memoryview:
        view = self._view
        if view is None:
            memory = map_file(self.fd, self.size)
            populate(memory)
            view = memoryview(memory).cast("B")
            self._memory, self._view = memory, view
        return view

    def contains(self, buffer: Any, offset: int) -> bool:
        """Return whether the block contains the bytes of a buffer at an offset."""
        self._mapped()
        memory = self._memory
        return memory is not None and equal(buffer, memory, offset)

    def contents(self) -> memoryview:
        """Return what it contains, without a copy.

        Raises
        ------
        OSError
            If it cannot be mapped.
        """
        if self.store is None:  # it is read once
            return memoryview(self.read_only()).cast("B")[: self.used].toreadonly()
        return self._mapped()[: self.used].toreadonly()

    def copy(self, offset: int, size: int) -> memoryview:
        """Return a copy of a part of it."""
        return memoryview(bytes(self._mapped()[offset : offset + size]))

    def read_only(self) -> Memory:
        """Return the block as memory that must not be written to."""
        return map_file(self.fd, self.size, writable=False)

    def release(self) -> None:
        """Remove a holder; after the last one, return the block to its store, or close it."""
        if self.store is not None:
            self.store.release(self)
            return
        self.holders -= 1
        if not self.holders:
            self.close()

    def free_copies(self) -> None:
        """Have the copies on other machines freed: the block is going to contain something else."""
        copies, self.copies = self.copies, None
        if copies:
            for keeper, number in copies.items():
                # What a receiver has forked may still have it mapped, and of constants nobody tells.
                keeper.free(number, self.store is None or self.is_retired)

    def close(self) -> None:
        """Free the memory; receivers keep what they have mapped."""
        if self.copies:
            self.free_copies()
        self._view = self._memory = None
        if self.fd >= 0:
            fd, self.fd = self.fd, -1
            os.close(fd)

    def __del__(self) -> None:
        # In a fork, the number may belong to another file by now.
        if getattr(self, "fd", -1) >= 0 and self._pid == os.getpid():
            self.close()


class Placed:
    """Buffers that lie in blocks, each of which it holds.

    Parameters
    ----------
    blocks : tuple of Block
        The blocks.
    spans : tuple of (int, int, int)
        Of each buffer: which block, the offset in it, and its size, in bytes.
    """

    __slots__ = ("__weakref__", "blocks", "spans")

    def __init__(self, blocks: tuple[Block, ...], spans: tuple[tuple[int, int, int], ...]) -> None:
        self.blocks = blocks
        self.spans = spans

    @classmethod
    def alone(cls, block: Block, buffers: Sequence[Any]) -> Self:
        """Copy buffers into a block that contains nothing else."""
        return cls((block,), block.fill(buffers))

    @property
    def is_far(self) -> bool:
        """Whether any of them lies on another machine only."""
        return any(block.fd < 0 for block in self.blocks)

    def copies(self) -> list[memoryview]:
        """Return copies of the buffers, to send them through the socket."""
        return [self.blocks[part].copy(offset, size) for part, offset, size in self.spans]

    def share(self) -> list[memoryview]:
        """Return the buffers as read-only views in this process."""
        views = slice_views([block.read_only() for block in self.blocks], self.spans)
        return [view.toreadonly() for view in views]

    def is_equal(self, buffers: Sequence[Any]) -> bool:
        """Whether they contain what these buffers do.

        Raises
        ------
        OSError
            If they cannot be mapped.
        """
        if [len(buffer) for buffer in buffers] != [size for _, _, size in self.spans]:
            return False
        memories = [block.read_only() for block in self.blocks]  # they stay mapped no longer
        pairs = zip(self.spans, buffers, strict=True)
        return all(equal(buffer, memories[part], offset) for (part, offset, _), buffer in pairs)

    def release(self) -> None:
        """Remove a holder from each block."""
        for block in self.blocks:
            if block.store is not None:
                block.store.release(block)  # at once: this is done for each large call
            else:
                block.release()


def _write(fd: int, buffer: Any, offset: int) -> None:
    left = memoryview(buffer)
    while len(left):
        written = os.pwrite(fd, left, offset)
        left, offset = left[written:], offset + written


def block_size(buffers: Sequence[Any]) -> int:
    """Return the size of a block for these buffers, in bytes."""
    return sum([-(-len(buffer) // _ALIGN) * _ALIGN for buffer in buffers])
