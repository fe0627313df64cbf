"""The value of a call as its worker has sent it, held to be passed on, or to be unpickled more than once.

Nobody writes to what is held. Its large buffers mostly lie in a block of the worker that has made it, whose
descriptor this process was sent. The same block is passed on to other workers, and unpickled here on a
mapping of its own each time, which is copy-on-write like theirs. So there is one copy of it, which goes when
the last of all these is gone: only then is the lease of the block returned to the worker that owns it. That
worker may have exited long before: the memory stays.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, overload

from .block_ref import slice_views
from .blocks import Block, Placed
from .leased_memory import Lease
from .native import Memory, address_of, map_file

__all__ = ["HeldValue", "LentBuffers"]


class HeldValue:
    """A pickled value, and its large buffers.

    Parameters
    ----------
    body : bytes
        The pickle.
    buffers : sequence of bytes-like
        Its buffers as they were received. Nobody may write to them from now on.
    """

    __slots__ = ("_block", "_buffers", "_spans", "body")

    is_far = False
    """Whether the buffers lie on another machine."""

    lost = ""
    """Why they are not there any more; empty: they are."""

    def __init__(self, body: bytes, buffers: Sequence[Any]) -> None:
        self.body = body
        self._buffers = buffers
        self._block: PassedBlock | None = None
        self._spans: tuple[tuple[int, int, int], ...] = ()

    def __len__(self) -> int:
        """Return how many buffers it has."""
        return len(self._buffers)

    @property
    def nbytes(self) -> int:
        """Its size, in bytes."""
        return len(self.body) + sum(map(len, self._buffers))

    def placed(self) -> Placed | None:
        """Return the buffers where they lie, to be passed to a worker; None: they are in no block."""
        block = self._in_block()
        return None if block is None else Placed((block,), self._spans)

    def raw(self) -> list[memoryview]:
        """Return the buffers themselves; they must not be written to."""
        return [memoryview(buffer).cast("B") for buffer in self._buffers]

    def lent(self) -> LentBuffers:
        """Return the buffers for whoever unpickles the value here."""
        return LentBuffers(self)

    def fetch(self, numbers: Sequence[int]) -> list[memoryview]:
        """Return some of the buffers, as memory that no one else sees what is written to."""
        block = self._in_block()
        if block is not None:
            try:
                memory = map_file(block.fd, block.size, private=True)
            except OSError:  # there are too many mappings
                pass
            else:
                memory.on_freed = partial(_let_go, block)  # it is needed as long as this memory is used
                return slice_views([memory], [self._spans[number] for number in numbers])
        return [memoryview(bytearray(self._buffers[number])) for number in numbers]

    def _in_block(self) -> PassedBlock | None:
        """Return the block that all its buffers lie in, with a descriptor of its own."""
        if self._block is None and self._buffers:
            memory: Any = getattr(self._buffers[0], "obj", None)
            lease = memory.on_freed if isinstance(memory, Memory) else None
            if isinstance(lease, Lease) and all(buffer.obj is memory for buffer in self._buffers):
                fd = lease.duplicate()
                if fd >= 0:
                    self._block = PassedBlock(memory, fd)
                    start = address_of(memoryview(memory).cast("B"))
                    self._spans = tuple(
                        [(0, address_of(buffer) - start, len(buffer)) for buffer in self._buffers]
                    )
        return self._block


def _let_go(block: PassedBlock) -> None:
    """Do nothing: what refers to this has held the block until now."""


class LentBuffers(Sequence[memoryview]):
    """The buffers of a held value, as `decode` takes them: new memory each time that it is asked for."""

    __slots__ = ("held",)

    def __init__(self, held: HeldValue) -> None:
        self.held = held

    def __len__(self) -> int:
        return len(self.held)

    @property
    def nbytes(self) -> int:
        """Their size, in bytes."""
        return self.held.nbytes - len(self.held.body)

    def __iter__(self) -> Iterator[memoryview]:
        return iter(self.held.fetch(range(len(self.held))))

    @overload
    def __getitem__(self, index: int) -> memoryview: ...

    @overload
    def __getitem__(self, index: slice) -> list[memoryview]: ...

    def __getitem__(self, index: int | slice) -> memoryview | list[memoryview]:
        numbers = range(len(self.held))[index]
        return self.held.fetch([numbers])[0] if isinstance(numbers, int) else self.held.fetch(numbers)


class PassedBlock(Block):
    """A block of another process, which is passed on to others. It is held by whatever refers to it.

    Parameters
    ----------
    memory : Memory
        It as this process has received it; its lease ends when that is freed.
    fd : int
        Its descriptor, which is closed with this object.
    """

    __slots__ = ()

    def __init__(self, memory: Memory, fd: int) -> None:
        self.size = self.used = memory._length_
        self.copies = None
        self._pid = os.getpid()
        self.fd = fd
        self._written = True
        self._memory = memory
        self._view = memoryview(memory).cast("B")
        self.store = _PASSED
        self.holders = 1
        self.is_retired = self.is_given = self.is_common = False
        self.keys = []
        self.idle_since = 0.0


class _Passed:
    """The owner of blocks that are passed on: they are not its own, so it has nothing to free."""

    def lend(self, block: Block, exclusive: bool) -> bool:
        """Let a worker use a block; it may not write to it."""
        return False

    def release(self, block: Block) -> None:
        """Note that a worker uses a block no longer, unless what it has forked still does."""
        memory = block._memory
        if block.is_retired and memory is not None and isinstance(memory.on_freed, Lease):
            memory.on_freed.retire()


_PASSED = _Passed()
