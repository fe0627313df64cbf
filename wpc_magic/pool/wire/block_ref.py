"""References to buffers in a block of shared memory, which a frame carries in place of the buffers."""

from __future__ import annotations

import struct

from wpc_magic.pool.wire.named_tuple import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, TypeAlias

__all__ = ["FD", "LEASE", "MAX_PARTS", "RETIRED", "BlockRef", "Part", "slice_views"]

LEASE = struct.Struct("<Q")
"""The number of a lease, as the block channel and `RELEASE` frames carry it."""

FD = struct.Struct("i")
"""A descriptor in the ancillary data of the block channel."""


RETIRED = 1 << 62
"""Added to the number of a lease that is released: the block must not be used again."""

MAX_PARTS = 200
"""How many blocks a message may refer to: one system call takes no more than 253 descriptors."""


Part: TypeAlias = "tuple[int, int, int]"
"""One of the blocks that a message refers to.

Its lease, which identifies one sending of the block; its size, in bytes; and 1 if only this receiver uses it,
so that it may write to it directly, else 0. A plain tuple, because each large call makes some.
"""


class BlockRef(NamedTuple):
    """A reference to buffers in blocks.

    Parameters
    ----------
    parts : tuple of Part
        The blocks.
    spans : tuple of (int, int, int)
        Of each buffer: which block, the offset in it, and its size, in bytes.
    """

    parts: tuple[Part, ...]
    spans: tuple[tuple[int, int, int], ...]


def slice_views(memories: Sequence[Any], spans: Sequence[tuple[int, int, int]]) -> list[memoryview]:
    """Return a view of each buffer, given the memory of the blocks."""
    wholes = [memoryview(memory).cast("B") for memory in memories]
    return [wholes[part][offset : offset + size] for part, offset, size in spans]
