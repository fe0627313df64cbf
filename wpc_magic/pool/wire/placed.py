"""Where the buffers of a message are, if they are in a block."""

from __future__ import annotations

from wpc_magic.pool.wire.record import NamedTuple

__all__ = ["Placed"]


class Placed(NamedTuple):
    """Where buffers are.

    Parameters
    ----------
    lease : int
        Which sending of a block this is.
    size : int
        The size of the block, in bytes.
    exclusive : int
        1 if nobody else will look at it, so that it may be written to as it is; else 0.
    spans : tuple of (int, int)
        Offset and size of each buffer, in bytes.
    """

    lease: int
    size: int
    exclusive: int
    spans: tuple[tuple[int, int], ...]
