"""Memory that is leased from another process, and what becomes of it when this process forks.

A fork shares the pages of a shared mapping with its parent process: what one of the two writes to its array,
the other would find in its own. So where this process may write directly to a block, the descriptor of the
block is kept, and before a fork the mapping is made private in place: one system call for each block that is
held, whatever its size. To copy the data at the fork was the alternative: it takes 0.5 to 2 s for each GB,
and loses what another thread writes meanwhile. To leave the memory out of the fork (`MADV_DONTFORK`) would
end a child that reads it.

From then on both see the block's own contents where they have not written. So its sender must not use it
again: its lease is returned with the mark `RETIRED`, and the memory is freed when the last of the processes
unmaps it. Measured for an array of 64 MB that is held: the fork takes 4 ms more, to read the array again 4 ms
more (its pages are mapped anew), to write to all of it 40 ms more, once, and the next value of that size 10
ms more (a new block).

At most `MAX_KEPT` descriptors are kept, and fewer where the system allows few. What is leased beyond them is
mapped privately from the start: the first write to each page then costs a fault and a copy.
"""

from __future__ import annotations

import os

from wpc_magic.pool.wire.block_ref import RETIRED
from wpc_magic.pool.wire.native import make_private

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from wpc_magic.pool.wire.native import Memory

__all__ = ["MAX_KEPT", "Lease", "descriptor_limit", "may_keep", "set_max_kept"]

MAX_KEPT = 64
"""How many descriptors of leased blocks a process keeps."""

_kept: dict[int, Lease] = {}  # by the id of the lease
_forks = [0]


class Lease:
    """One lease of a block, held until the last view of its memory is freed.

    Parameters
    ----------
    number : int
        The lease.
    end : callable
        Called with the lease when it has ended, in any thread; marked with `RETIRED` if the block must not be
        used again.
    fd : int
        The descriptor of a block that is mapped as shared memory, kept as long as the lease; -1: it is not.
    memory : Memory or None
        That mapping.
    forget : callable or None
        Called with the mapping when it has become private.
    """

    __slots__ = ("_end", "_forks", "_number", "fd", "forget", "memory")

    def __init__(
        self,
        number: int,
        end: Callable[[int], object],
        fd: int = -1,
        memory: Memory | None = None,
        forget: Callable[[Memory], object] | None = None,
    ) -> None:
        self._number = number
        self._end = end
        self._forks = _forks[0]
        self.fd, self.memory, self.forget = fd, memory, forget
        if fd >= 0:
            _kept[id(self)] = self

    def __call__(self) -> None:
        """End the lease: the memory is freed."""
        if _kept.pop(id(self), None) is not None:  # in one step: a fork may begin in another thread
            os.close(self.fd)
        self._end(self._number if self._forks == _forks[0] else self._number | RETIRED)

    def duplicate(self) -> int:
        """Return a descriptor of the block for another use; -1 if this lease keeps none, or none is left."""
        if self.fd < 0:
            return -1
        try:
            fd = os.dup(self.fd)
        except OSError:
            return -1
        if _kept.get(id(self)) is not self:  # another thread forks, and has closed it: that may be any file
            os.close(fd)
            return -1
        return fd

    def retire(self) -> None:
        """Have the sender not use the block again when the lease has ended: a fork still sees it."""
        self._forks = -1


def descriptor_limit() -> int:
    """Return how many descriptors this process may have open."""
    import resource  # not available on Windows, where this module must be importable

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1 << 20 if soft == resource.RLIM_INFINITY else soft


def may_keep() -> bool:
    """Return whether the descriptor of one more block may be kept."""
    return len(_kept) < _max_kept[0]


def set_max_kept() -> None:
    """Take over how many descriptors this process may have open."""
    _max_kept[0] = min(MAX_KEPT, descriptor_limit() // 16)


_max_kept = [0]


def _make_private() -> None:
    """Make everything private that this process may write to. It takes no lock: a signal handler may fork."""
    _forks[0] += 1
    for number in list(_kept):
        lease = _kept.pop(number, None)
        if lease is None:
            continue
        memory: Any = lease.memory
        assert lease.forget is not None
        lease.forget(memory)
        try:
            make_private(memory, lease.fd)
        except OSError:
            pass  # no memory for its page tables: the fork itself is going to fail
        finally:
            os.close(lease.fd)


def _after_fork_in_parent() -> None:
    _forks[0] += 1  # for what another thread has leased since


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_make_private, after_in_parent=_after_fork_in_parent, after_in_child=_make_private
    )
