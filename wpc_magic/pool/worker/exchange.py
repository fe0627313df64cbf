"""The worker's side of shared memory: arguments and constants come in, values go out."""

from __future__ import annotations

import _socket

from wpc_magic.pool.wire.blocks import Receiver, Sender, Store
from wpc_magic.pool.wire.channel import frame, placed_frame
from wpc_magic.pool.wire.placed import Placed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from wpc_magic.pool.wire.channel import Bytes

__all__ = ["IDLE_S", "Exchange"]

IDLE_S = 5.0
"""For how long a block is kept that nobody uses, in seconds."""


class Exchange:
    """Blocks in both directions.

    Parameters
    ----------
    sock : socket
        The block channel.
    """

    def __init__(self, sock: _socket.socket) -> None:
        self._receiver = Receiver(sock)
        self._sender = Sender(sock)
        self.store = Store(0)

    def set_up(self, limit: int, in_memory: bool) -> None:
        """Take the pool's options."""
        self.store.limit, self.store.in_memory = limit, in_memory

    # -- in ---------------------------------------------------------------------------------------------

    def arguments(self, placed: Placed) -> list[memoryview]:
        """Return the buffers of a call's arguments."""
        return self._receiver.fetch(placed).map()

    def constant(self, buffers: Any) -> Sequence[Any]:
        """Return the buffers of a constant, read-only."""
        if isinstance(buffers, Placed):
            return self._receiver.fetch(buffers).share()
        return [memoryview(buffer).toreadonly() for buffer in buffers]

    def drop(self, buffers: Any) -> None:
        """Let go of the buffers of a call that does not run."""
        if isinstance(buffers, Placed):
            self._receiver.fetch(buffers)

    def news(self) -> bytes:
        """Return what the pool is to be told of its blocks."""
        return self._receiver.news()

    # -- out --------------------------------------------------------------------------------------------

    def answer(
        self, kind: int, ran_ns: int, seq: int, body: bytes, buffers: Sequence[memoryview]
    ) -> list[Bytes]:
        """Return the frame of an answer; large buffers go in a block."""
        if buffers:
            block = self.store.place(buffers)
            if block is not None:
                placed = self._sender.send(block)
                block.let_go()
                if placed is not None:
                    return placed_frame(kind, 0, ran_ns, seq, body, placed)
        return frame(kind, 0, ran_ns, seq, body, buffers)

    def released(self, packed: Any) -> None:
        """Take the pool's news of our blocks."""
        self._sender.released(packed)

    def tidy(self, idle_s: float) -> None:
        """Give back memory that has not been used for that long, in seconds. Any thread may."""
        self.store.trim(idle_s)
        self._receiver.kept.trim(idle_s)
