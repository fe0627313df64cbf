"""Values that stay on the machine of the worker that has made them, until somebody asks for them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Protocol

from ...wire.block_ref import BlockRef, slice_views
from ...wire.blocks import Block, Placed
from ...wire.held_value import HeldValue

__all__ = ["FarBlock", "FarValue", "Origin"]


class Origin(Protocol):
    """The machine that has a block."""

    lost: str

    def free(self, number: int, is_retired: bool) -> None:
        """Free a block."""

    def fetch(self, number: int, size: int) -> bytearray:
        """Return the contents of a block; not to be called under a lock."""


class FarBlock(Block):
    """A block of which this machine has nothing. It is held by whatever refers to it.

    Parameters
    ----------
    origin : Origin
        The machine that has it.
    number : int
        What it is called there.
    size : int
        In bytes.
    """

    __slots__ = ("number", "origin")

    def __init__(self, origin: Origin, number: int, size: int) -> None:
        self.origin, self.number = origin, number
        self.size = self.used = size
        self.copies = {origin: number}
        self.fd = -1
        self._pid = os.getpid()
        self._written = True
        self._memory = self._view = None
        self.store = _HELD
        self.holders = 1
        self.is_retired = self.is_given = self.is_common = self.is_fixed = False
        self.keys = []
        self.idle_since = 0.0

    def contents(self) -> memoryview:
        """Return nothing: it goes from machine to machine."""
        return memoryview(b"")

    def copy(self, offset: int, size: int) -> memoryview:
        """Return a copy of a part of it, which is fetched."""
        return memoryview(self.fetch())[offset : offset + size]

    def fetch(self) -> bytearray:
        """Return its contents."""
        return self.origin.fetch(self.number, self.size)

    def __del__(self) -> None:
        if getattr(self, "copies", None) and self._pid == os.getpid():
            self.free_copies()


class _Held:
    """The owner of such blocks: they are not its own, so it has nothing to free."""

    def lend(self, block: Block, exclusive: bool) -> bool:
        """Let a worker use a block; it may not write to it."""
        return False

    def release(self, block: Block) -> None:
        """Do nothing: it is freed when nothing refers to it."""


_HELD = _Held()


class FarValue(HeldValue):
    """A value whose large buffers are on another machine; its body is set by who has it.

    Parameters
    ----------
    block : FarBlock
        Where they lie.
    ref : BlockRef
        Which part of it each is.
    """

    __slots__ = ()

    is_far = True
    _block: FarBlock  # type: ignore[assignment]

    def __init__(self, block: FarBlock, ref: BlockRef) -> None:
        self.body = b""
        self._buffers = ()
        self._block = block
        self._spans = ref.spans

    def __len__(self) -> int:
        return len(self._spans)

    @property
    def nbytes(self) -> int:
        """Its size, in bytes."""
        return len(self.body) + sum(size for _, _, size in self._spans)

    @property
    def lost(self) -> str:  # type: ignore[override]
        """Why it is not there any more; empty: it is."""
        return self._block.origin.lost

    def placed(self) -> Placed:
        """Return the buffers where they lie, to be passed to a worker."""
        return Placed((self._block,), self._spans)

    def raw(self) -> list[memoryview]:
        """Return the buffers, which are fetched."""
        return self.fetch(range(len(self)))

    def fetch(self, numbers: Sequence[int]) -> list[memoryview]:
        """Return some of the buffers, which are fetched: as memory that nobody else has."""
        if not numbers:
            return []
        return slice_views([self._block.fetch()], [self._spans[number] for number in numbers])
