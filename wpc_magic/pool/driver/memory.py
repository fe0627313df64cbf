"""The shared memory of the parent process."""

from __future__ import annotations

import errno
import itertools
import os
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from ..machine import usable_memory, used_percent
from ..wire.block_ref import BlockRef
from ..wire.block_store import BlockStore
from ..wire.blocks import MIN_BLOCK_SIZE, PERMANENT_LEASES, Block, Placed, block_size
from ..wire.leased_memory import descriptor_limit

if TYPE_CHECKING:
    from ..options import PoolOptions
    from ..shared.region import Region
    from .link import Link

__all__ = ["Memory", "PlacedRegion"]

_IDLE_S = 5.0  # how long an unused block is kept
_PRESSURE_PERCENT = 95.0  # memory in use, above which no unused block is kept


class KeptValue(Protocol):
    """The future of a call whose value is kept."""

    def lose(self) -> None:
        """Let go of the value."""


class PlacedRegion(Placed):
    """The memory of a shared object.

    Attributes
    ----------
    region : Region
        The same in this process.
    """

    __slots__ = ("region",)

    region: Region


class Memory:
    """The shared memory of one pool.

    Attributes
    ----------
    store : BlockStore
        The blocks for arguments.
    percent : callable
        Returns how much of the memory that may be used is in use, in percent.
    """

    def __init__(self) -> None:
        self.store = BlockStore(0)
        self.percent = used_percent
        self._constants = itertools.count()
        self._placed_constants: weakref.WeakSet[Placed] = weakref.WeakSet()
        self._kept: weakref.WeakSet[KeptValue] = weakref.WeakSet()

    def configure(self, options: PoolOptions) -> None:
        """Apply the pool's options."""
        megabytes = options.block_memory_mb
        self.store.limit = usable_memory() // 4 if megabytes is None else megabytes << 20
        self.store.in_memory = options.blocks_in == "memory"

    def close(self) -> None:
        """Free all unused blocks, each block in use as soon as it is released, and all kept values."""
        for kept in list(self._kept):
            kept.lose()
        self._kept.clear()
        self.store.limit = 0
        self.store.trim(0.0)

    def keep(self, kept: KeptValue) -> None:
        """Keep the value of a call until its future is freed, or this is closed."""
        self._kept.add(kept)

    def put_shared(
        self, parts: Sequence[Any], size: int, options: PoolOptions
    ) -> tuple[PlacedRegion, BlockRef]:
        """Make the memory of a shared object; return it, and what is sent to workers.

        Parameters
        ----------
        parts : sequence of bytes-like
            What it begins with.
        size : int
            Its size, in bytes.

        Raises
        ------
        OSError
            If there is no room for it, or no descriptor.
        """
        if size > usable_memory():  # to reserve it could take all there is
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
        placed = PlacedRegion.alone(Block(size, options.blocks_in == "memory"), parts)
        return placed, BlockRef(((PERMANENT_LEASES + next(self._constants), size, 0),), placed.spans)

    def put_constant(self, buffers: Sequence[Any], options: PoolOptions) -> tuple[Placed | None, Any]:
        """Copy a constant's buffers; return the block (or None), and what is sent to workers.

        Raises
        ------
        OSError
            If there is no room for them. Where only a descriptor is missing, or an eighth of all are used for
            constants, the bytes themselves are sent.
        """
        size = block_size(buffers)
        placed = None
        if size >= MIN_BLOCK_SIZE and len(self._placed_constants) < descriptor_limit() // 8:
            try:
                placed = Placed.alone(Block(size, options.blocks_in == "memory"), buffers)
            except OSError as error:
                if error.errno not in (errno.EMFILE, errno.ENFILE):
                    raise
        if placed is None:
            return None, tuple(bytes(buffer) for buffer in buffers)
        self._placed_constants.add(placed)
        lease = PERMANENT_LEASES + next(self._constants)
        return placed, BlockRef(((lease, size, 0),), placed.spans)

    def trim_idle(self, links: Sequence[Link]) -> Sequence[Link]:
        """Free what has been idle for a while; under memory pressure, everything idle.

        Returns
        -------
        sequence of Link
            The workers that must trim, too: they have blocks of their own, and keep ours mapped.
        """
        # The memory usage is read only if there is something to free: an idle pool must cost next to nothing.
        has_idle = self.store.has_free or any(len(link.receiver.cache) for link in links)
        pressure = has_idle and self.percent() > _PRESSURE_PERCENT
        idle_s = 0.0 if pressure else _IDLE_S
        self.store.trim(idle_s)
        for link in links:
            link.receiver.cache.trim(idle_s)
        return links if pressure else ()
