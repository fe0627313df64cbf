"""The worker's side of shared memory: it receives arguments and constants, and sends values."""

from __future__ import annotations

import _socket

from wpc_magic.pool.wire.block_receiver import Receiver, ShortageError
from wpc_magic.pool.wire.block_ref import BlockRef
from wpc_magic.pool.wire.block_sender import Sender
from wpc_magic.pool.wire.block_store import BlockStore
from wpc_magic.pool.wire.blocks import MIN_BLOCK_SIZE, Block, Placed, block_size
from wpc_magic.pool.wire.channel import block_frame, frame
from wpc_magic.pool.worker.room import check_room

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from wpc_magic.pool.wire.channel import Bytes

__all__ = ["IDLE_S", "SharedBuffers"]

IDLE_S = 5.0
"""How long an unused block is kept, in seconds."""


class SharedBuffers:
    """Buffers in blocks of shared memory, in both directions.

    Parameters
    ----------
    sock : socket
        The block channel.

    Attributes
    ----------
    come_later : bool
        Whether a frame may arrive before the descriptors that it refers to.
    """

    def __init__(self, sock: _socket.socket) -> None:
        self._receiver = Receiver(sock, has_spare=True)
        self._sender = Sender(sock)
        self.store = BlockStore(0)
        self.come_later = False

    def configure(self, limit: int, in_memory: bool) -> None:
        """Apply the pool's options."""
        self.store.limit, self.store.in_memory = limit, in_memory

    def wait_for_descriptors(self, gives_up: Callable[[], bool]) -> None:
        """From now on, wait for descriptors that have not arrived, until it is time to give up."""
        self._receiver.gives_up = gives_up
        self.come_later = True

    # -- received ---------------------------------------------------------------------------------------

    def wait_for(self, ref: BlockRef) -> bool:
        """Wait until the descriptors of a reference are there; return False if it is time to give up."""
        return self._receiver.wait_for(ref)

    def arguments(self, ref: BlockRef) -> list[memoryview]:
        """Return the buffers of a call's arguments."""
        try:
            return self._receiver.fetch(ref)
        except ShortageError as error:
            if error.lease:
                self._receiver.release(error.lease)
            raise

    def constant(self, buffers: Any) -> Sequence[Any]:
        """Return the buffers of a constant, read-only."""
        if isinstance(buffers, BlockRef):
            return self._receiver.share(buffers)
        return [memoryview(buffer).toreadonly() for buffer in buffers]

    def descriptor(self, ref: BlockRef) -> int:
        """Return the descriptor of a shared object, which is the caller's."""
        return self._receiver.descriptor(ref)

    def drop(self, buffers: Any) -> None:
        """Release the buffers of a call that does not run."""
        if isinstance(buffers, BlockRef):
            self._receiver.drop(buffers)

    def releases(self) -> bytes:
        """Return the releases of the pool's blocks that are to be sent."""
        return self._receiver.releases()

    # -- sent -------------------------------------------------------------------------------------------

    def answer(
        self, kind: int, ran_ns: int, seq: int, body: bytes, buffers: Sequence[memoryview], failed: int = 0
    ) -> list[Bytes]:
        """Return the frame of an answer; large buffers are put in a block. See `protocol.VALUE`."""
        if buffers:
            placed = self.store.put(buffers)
            if placed is not None:
                ref = self._sender.send(placed)
                placed.release()
                if ref is not None:
                    return block_frame(kind, failed, ran_ns, seq, body, ref)
        return frame(kind, failed, ran_ns, seq, body, buffers)

    def keep(
        self, kind: int, ran_ns: int, seq: int, body: bytes, buffers: Sequence[memoryview], failed: int = 0
    ) -> list[Bytes]:
        """Return the frame of an answer whose large buffers stay here, with who receives our blocks.

        Where less memory is left than they take, they travel: to write to more than there is would end
        processes of this machine.
        """
        if buffers and (size := block_size(buffers)) >= MIN_BLOCK_SIZE:
            try:
                check_room(size)
                placed = Placed.alone(Block(size, self.store.in_memory), buffers)
            except OSError:
                pass  # there is no room for them
            else:
                ref = self._sender.send(placed, lease=seq)
                placed.release()
                if ref is not None:
                    return block_frame(kind, failed, ran_ns, seq, body, ref)
        return self.answer(kind, ran_ns, seq, body, buffers, failed)

    def contents(self, lease: int) -> memoryview | None:
        """Return a copy of a block of ours; None if the pool does not use it. Any thread may call this."""
        return self._sender.contents(lease)

    def released(self, packed: Any) -> None:
        """Handle the pool's releases of our blocks."""
        self._sender.released(packed)

    def trim_idle(self, idle_s: float) -> None:
        """Free memory that has not been used for `idle_s` seconds. Any thread may call this."""
        self.store.trim(idle_s)
        self._receiver.cache.trim(idle_s)
