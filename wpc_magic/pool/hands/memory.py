"""The shared memory of the pool's own process."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import psutil

from ..wire.blocks import FOREVER, LEAST, Block, Store, needed
from ..wire.placed import Placed

if TYPE_CHECKING:
    from ..options import PoolOptions
    from .link import Link

__all__ = ["Memory"]

_IDLE_S = 5.0  # for which a block is kept that nobody uses
_SHORT = 95.0  # percent in use: then none is kept


def _percent() -> float:
    try:
        return psutil.virtual_memory().percent
    except OSError:  # no descriptor is left to look with
        return 0.0


class Memory:
    """What one pool holds of shared memory.

    Attributes
    ----------
    store : Store
        The blocks for arguments.
    percent : callable
        Returns how much of the machine's memory is in use, in percent.
    """

    def __init__(self) -> None:
        self.store = Store(0)
        self.percent = _percent
        self._constants = itertools.count()

    def set_up(self, options: PoolOptions) -> None:
        """Take the limits from the pool's options."""
        megabytes = options.block_memory_mb
        self.store.limit = psutil.virtual_memory().total // 4 if megabytes is None else megabytes << 20
        self.store.in_memory = options.blocks_in == "memory"

    def close(self) -> None:
        """Keep nothing: what is in use still goes as soon as it is not."""
        self.store.limit = 0
        self.store.trim(0.0)

    def place_constant(self, buffers: Sequence[Any], options: PoolOptions) -> tuple[Block | None, Any]:
        """Return memory with copies of a constant's buffers, and what workers are told of it."""
        size = needed(buffers)
        if size < LEAST:
            return None, tuple(bytes(buffer) for buffer in buffers)
        block = Block(size, options.blocks_in == "memory")
        block.fill(buffers)
        lease = FOREVER + next(self._constants)
        return block, Placed(lease, size, 0, block.spans)

    def tidy(self, links: Sequence[Link]) -> Sequence[Link]:
        """Give back what has not been used for a while; all of it where the machine is short of memory.

        Returns
        -------
        sequence of Link
            Those whose workers are to give back, too: they have blocks of their own, and keep ours mapped.
        """
        # Asked only where there is something to give back: an idle pool does nothing dearer.
        keeps = self.store.has_free or any(len(link.receiver.kept) for link in links)
        short = keeps and self.percent() > _SHORT
        idle_s = 0.0 if short else _IDLE_S
        self.store.trim(idle_s)
        for link in links:
            link.receiver.kept.trim(idle_s)
        return links if short else ()
