"""The blocks of one sender: reused, and with each buffer in them once."""

from __future__ import annotations

import mmap
import time
from _thread import RLock

from wpc_magic.pool.wire.blocks import MIN_BLOCK_SIZE, Block, Placed, block_size
from wpc_magic.pool.wire.leased_memory import descriptor_limit
from wpc_magic.pool.wire.native import address_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

__all__ = ["BlockStore"]

_MAX_BLOCKS = 1024  # each has a descriptor


class BlockStore:
    """The blocks of one sender, which it reuses. All methods are thread-safe.

    Parameters
    ----------
    limit : int
        The maximal size of all blocks together, in bytes. What exceeds it goes through the socket, as does
        what exceeds `_MAX_BLOCKS`, or a quarter of the descriptors that this process may have.
    in_memory : bool
        As in `anonymous_file`.

    Attributes
    ----------
    keeps_contents : bool
        Whether `place` finds also what no one needs any more, until a block is used for something else: where
        blocks are copied to other machines, to send them again takes far longer than to compare them.
    total : int
        The size of all blocks together, in bytes.
    peak : int
        The largest size that they have had.
    """

    def __init__(self, limit: int, in_memory: bool = True) -> None:
        self.limit = limit
        self.keeps_contents = False
        self.in_memory = in_memory
        self.total = self.peak = 0
        self._count = 0
        self._free: list[Block] = []  # the most recently used is last: its pages are in the CPU cache
        self._placed: dict[tuple[int, int], tuple[Block, int]] = {}  # by address and size; block, offset
        self._lock = RLock()  # a finalizer may run wherever memory is allocated, and use the store

    @property
    def count(self) -> int:
        """The number of all blocks."""
        return self._count

    @property
    def used(self) -> int:
        """The size of the blocks in use, in bytes."""
        with self._lock:
            return self.total - sum(block.size for block in self._free)

    @property
    def has_free(self) -> bool:
        """Whether there is an unused block."""
        return bool(self._free)

    def put(self, buffers: Sequence[Any], min_size: int = MIN_BLOCK_SIZE) -> Placed | None:
        """Return copies of the buffers in a block of their own; None: they must go through the socket."""
        size = block_size(buffers)
        return self._put(buffers, size) if size >= min_size else None

    def _put(self, buffers: Sequence[Any], size: int) -> Placed | None:
        with self._lock:
            block = self._acquire(size)
        if block is None:
            return None
        try:
            return Placed((block,), block.fill(buffers))
        except OSError:  # there is no room for it, on the disk or in memory
            with self._lock:
                self._close(block)
            return None

    def place(self, buffers: Sequence[Any]) -> Placed | None:
        """Do as `put`, but do not copy a buffer again that lies in a block already and is needed there.

        It is looked for by its address and size, and then compared, which is as quick as to copy it. So an
        array that is sent with many calls lies in memory once, or twice: a receiver may write directly to the
        first block, until there is a second call with the same array. Later ones have copy-on-write mappings.
        """
        size = block_size(buffers)
        if size < MIN_BLOCK_SIZE:
            return None
        found: dict[int, tuple[Block, int]] = {}
        is_common = False
        placed = self._placed
        keys = []
        for n, buffer in enumerate(buffers):
            if len(buffer) < MIN_BLOCK_SIZE:
                continue
            key = address_of(buffer), len(buffer)
            where = placed.get(key) if placed else None
            if where is not None:
                if where[0].is_given:
                    is_common = True  # the next call that has it shall find it
                elif self._hold_if_equal(*where, buffer):
                    found[n] = where
                    continue
            keys.append((n, key))
        result = self._put_rest(buffers, found) if found else self._put(buffers, size)
        if result is not None:
            for n, key in keys:  # what is new lies in the last block
                block = result.blocks[-1]
                placed[key] = block, result.spans[n][1]
                block.keys.append(key)
                block.is_common = is_common
        return result

    def keep(self, buffer: Any) -> Placed | None:
        """Put a buffer in a block where `place` finds it without comparing it, until that is released.

        The caller keeps the buffer, and does not write to it meanwhile. None: it is too small, or there is no
        room.
        """
        placed = self.place([buffer])
        if placed is not None:
            with self._lock:
                for block in placed.blocks:
                    block.is_fixed = len(block.keys) == 1  # else others look for what they have in it, too
        return placed

    def keep_no_longer(self, placed: Placed) -> None:
        """Undo `keep`."""
        with self._lock:
            for block in placed.blocks:
                block.is_fixed = False
        placed.release()

    def _hold_if_equal(self, block: Block, offset: int, buffer: Any) -> bool:
        """Hold a block if it contains a buffer at an offset, and return whether it does."""
        with self._lock:
            if block.is_given or not (block.holders or block in self._free):
                return False  # by now
            if not block.holders:
                self._free.remove(block)
            block.holders += 1  # from here on nobody writes to it
        try:
            if block.is_fixed or block.contains(buffer, offset):
                return True
        except OSError:  # it cannot be mapped
            pass
        block.release()
        return False

    def _put_rest(self, buffers: Sequence[Any], found: dict[int, tuple[Block, int]]) -> Placed | None:
        """Put those buffers in a block that were not found; None if that is not possible."""
        blocks: dict[Block, int] = {}
        spans: dict[int, tuple[int, int, int]] = {}
        for n, (block, offset) in found.items():
            if block in blocks:
                block.release()  # it is held once
            spans[n] = blocks.setdefault(block, len(blocks)), offset, len(buffers[n])
        rest = [n for n in range(len(buffers)) if n not in found]
        if rest:
            missing = [buffers[n] for n in rest]
            placed = self._put(missing, block_size(missing))
            if placed is None:
                for block in blocks:
                    block.release()
                return None
            for n, (_, offset, size) in zip(rest, placed.spans, strict=True):
                spans[n] = len(blocks), offset, size
            blocks[placed.blocks[0]] = len(blocks)
        return Placed(tuple(blocks), tuple([spans[n] for n in range(len(buffers))]))

    def lend(self, block: Block, exclusive: bool) -> bool:
        """Add a receiver as a holder of a block; return whether it may write to it.

        It may not if anyone but one call needs the contents, or is likely to.
        """
        with self._lock:
            block.is_given = exclusive and block.holders == 1 and not block.is_common
            block.holders += 1
            return block.is_given

    def _forget(self, block: Block) -> None:
        for key in block.keys:
            where = self._placed.get(key)
            if where is not None and where[0] is block:
                del self._placed[key]
        block.keys.clear()

    def _empty(self, block: Block) -> None:
        self._forget(block)
        block.free_copies()

    def _acquire(self, size: int) -> Block | None:
        for block in reversed(self._free):
            if size <= block.size <= 4 * size:
                self._free.remove(block)
                self._empty(block)
                block.holders = 1
                block.is_given = block.is_common = block.is_fixed = False
                return block
        size = _rounded(size)
        while self._free and (self.total + size > self.limit or self._is_full()):
            self._evict(self._free[0])
        if self.total + size > self.limit or self._is_full():
            return None
        try:
            block = Block(size, self.in_memory)
        except OSError:  # out of descriptors, memory or room on the disk
            return None
        block.store = self
        self.total += size
        if self.total > self.peak:
            self.peak = self.total
        self._count += 1
        return block

    def _is_full(self) -> bool:
        return self._count >= min(_MAX_BLOCKS, max(1, descriptor_limit() // 4))

    def _evict(self, block: Block) -> None:
        self._free.remove(block)
        self._close(block)

    def _close(self, block: Block) -> None:
        self._forget(block)
        self.total -= block.size
        self._count -= 1
        block.close()

    def release(self, block: Block) -> None:
        """Remove a holder of a block; after the last one it is free.

        The oldest free blocks are closed while the store exceeds its limit.
        """
        with self._lock:
            block.holders -= 1
            if block.holders:
                if block.is_given and block.keys:
                    self._forget(block)  # the call has ended, and perhaps its receiver keeps the memory
                return
            if block.is_retired:
                self._close(block)
                return
            if not self.keeps_contents:
                self._empty(block)
            block.idle_since = time.monotonic()
            self._free.append(block)
            while self.total > self.limit and self._free:
                self._evict(self._free[0])

    def after_fork(self) -> None:
        """Replace the lock, in a fork: another thread may have held the old one."""
        self._lock = RLock()

    def trim(self, idle_s: float) -> None:
        """Close the blocks that have been unused for at least that long, in seconds."""
        before = time.monotonic() - idle_s
        with self._lock:
            for block in [block for block in self._free if block.idle_since <= before]:
                self._evict(block)


def _rounded(size: int) -> int:
    """Round a size up to three significant bits and whole pages, so that similar sizes share blocks."""
    step = max(mmap.PAGESIZE, 1 << max(0, size.bit_length() - 3))
    return -(-size // step) * step
