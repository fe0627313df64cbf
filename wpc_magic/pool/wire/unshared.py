"""The ends of `blocks` for a process that shares no memory with this one: all goes through the channel."""

from __future__ import annotations

from collections import deque

from wpc_magic.pool.wire.block_receiver import Receiver
from wpc_magic.pool.wire.block_sender import Sender
from wpc_magic.pool.wire.mapping_cache import MappingCache

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    from wpc_magic.pool.wire.block_ref import BlockRef
    from wpc_magic.pool.wire.blocks import Placed

    Adopt: TypeAlias = Callable[[BlockRef], Any]

__all__ = ["UnsharedReceiver", "UnsharedSender"]


class UnsharedSender(Sender):
    """Passes no blocks: their contents are to be sent."""

    def __init__(self) -> None:
        self._leases = {}

    def send(self, placed: Placed, lease: int = 0, exclusive: bool = True) -> BlockRef | None:
        """Return None: a descriptor cannot reach the other process.

        Examples
        --------
        >>> UnsharedSender().send(None) is None
        True
        """
        return None


class UnsharedReceiver(Receiver):
    """Receives no blocks, and so has nothing to report.

    Parameters
    ----------
    adopt : callable, optional
        Returns the buffers of a block that stays on the machine of the other process, given the reference.
    """

    def __init__(self, adopt: Adopt | None = None) -> None:
        self._adopt = adopt
        self._has_spare, self._spare = False, -1
        self._fds = {}
        self._released = deque()
        self._mapped = set()
        self.cache = MappingCache()

    def fetch(self, ref: BlockRef) -> Any:
        """Return what stands for the buffers of a block that stays where it is.

        Raises
        ------
        OSError
            If the other process can have none.
        """
        if self._adopt is not None and len(ref.parts) == 1:
            return self._adopt(ref)
        raise OSError("a block of memory was announced by a process that shares none")
