"""The sender's side of `blocks`: passes blocks to a receiver, and tracks which of them it still uses."""

from __future__ import annotations

import _socket

from wpc_magic.pool.wire.block_ref import FD, LEASE, MAX_PARTS, RETIRED, BlockRef
from wpc_magic.pool.wire.channel import NO_SIGPIPE, without_sigpipe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wpc_magic.pool.wire.blocks import Block, Placed

__all__ = ["Sender"]


class Sender:
    """Passes blocks to one receiver.

    Parameters
    ----------
    sock : socket
        The block channel.
    """

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        sock.setblocking(False)
        without_sigpipe(sock)
        self._last = 0
        self._leases: dict[int, Block] = {}

    def send(self, placed: Placed, lease: int = 0, exclusive: bool = True) -> BlockRef | None:
        """Pass the descriptors of blocks, and return a reference to them; None if that is not possible now.

        Parameters
        ----------
        placed : Placed
            Its blocks are held until the receiver releases them.
        lease : int
            For a block that is never released, a number from `blocks.PERMANENT_LEASES` on; else 0.
        exclusive : bool
            Whether this is the only time that the contents are sent. Even then the receiver may not write
            directly to a block that has other holders.
        """
        blocks = placed.blocks
        if len(blocks) > MAX_PARTS:
            return None
        parts, numbers, fds = [], b"", b""
        for block in blocks:
            if lease or block.store is None:
                number, is_alone = lease, False
            else:
                self._last = number = self._last + 1
                is_alone = block.store.lend(block, exclusive)
                self._leases[number] = block
            parts.append((number, block.size, int(is_alone)))
            numbers += LEASE.pack(number)
            fds += FD.pack(block.fd)
        try:
            # In one message: either all of them arrive or none.
            self._sock.sendmsg([numbers], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, fds)], NO_SIGPIPE)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the receiver has exited: a copy through the socket would be wasted
        except OSError:  # too many descriptors are in flight
            if not lease:
                for number, _, _ in parts:
                    self._leases.pop(number).release()
            return None
        return BlockRef(tuple(parts), placed.spans)

    def contents(self, lease: int) -> memoryview | None:
        """Return a copy of a block that the receiver uses; None if it does not. Any thread may call this."""
        block = self._leases.get(lease)
        return None if block is None else block.copy(0, block.size)

    def released(self, packed: Any) -> None:
        """Release the blocks of leases that the receiver no longer uses; see `Receiver.releases`."""
        for (lease,) in LEASE.iter_unpack(packed):
            block = self._leases.pop(lease & ~RETIRED, None)
            if block is not None:
                if lease & RETIRED:
                    block.is_retired = True
                block.release()

    def close(self) -> None:
        """Release all blocks: the receiver has exited."""
        for block in self._leases.values():
            block.is_retired = True  # what it has forked may still have it mapped
            block.release()
        self._leases.clear()
