"""The sender's side of `blocks` where the receiver is on another machine, which keeps copies of them.

::

    this machine                     the other machine
    Block ── contents, once ──────── > Keeper's copy ── descriptor, for each lease ──> Receiver
    frame: leases, spans ───────────────────────── call channel ─────────────────────> Receiver.fetch

A frame may arrive before the descriptors that it refers to, so the receiver waits for these. It never writes
to a copy: the next receiver there gets the same.
"""

from __future__ import annotations

from wpc_magic.pool.wire.block_ref import BlockRef
from wpc_magic.pool.wire.block_sender import Sender

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from wpc_magic.pool.wire.blocks import Block, Placed

    Lend: TypeAlias = Callable[[Block, int], object]
    """Has a receiver get the descriptor of a copy of a block, with the number of a lease."""

__all__ = ["FarSender"]


class FarSender(Sender):
    """Passes blocks to a receiver on another machine.

    Parameters
    ----------
    lend : callable
        As above.
    """

    def __init__(self, lend: Lend) -> None:
        self._lend = lend
        self._last = 0
        self._leases = {}

    def send(self, placed: Placed, lease: int = 0, exclusive: bool = True) -> BlockRef | None:
        """Have copies of blocks lent to the receiver; see `Sender.send`. It may write to none of them."""
        blocks = placed.blocks
        parts = []
        try:
            for block in blocks:
                block.contents()  # all of them, or none
            for block in blocks:
                number = lease
                if not lease and block.store is not None:
                    self._last = number = self._last + 1
                    block.store.lend(block, False)
                    self._leases[number] = block
                self._lend(block, number)
                parts.append((number, block.size, 0))
        except OSError:  # there are too many mappings
            return None
        return BlockRef(tuple(parts), placed.spans)
