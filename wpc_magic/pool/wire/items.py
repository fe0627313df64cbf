"""The items of a stream in one frame: each is pickled when it is yielded, and small ones travel together.

The body of several is the size of each, 4 bytes, and then their pickles; that of one is its pickle alone, and
only that may have buffers.
"""

from __future__ import annotations

import struct

from wpc_magic.pool.wire.codec import decode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

__all__ = ["are_well_formed", "decode_items", "join_items"]


def join_items(pickles: Sequence[bytes]) -> bytes:
    """Return the body of a frame with these items.

    Examples
    --------
    >>> from wpc_magic.pool.wire.codec import pack
    >>> list(decode_items(join_items([pack(1), pack("a")]), 2, ()))
    [1, 'a']
    """
    if len(pickles) == 1:
        return pickles[0]
    return struct.pack(f"<{len(pickles)}I", *map(len, pickles)) + b"".join(pickles)


def are_well_formed(body: Any, count: int, buffers: Any) -> bool:
    """Return whether a body can be that of so many items.

    Examples
    --------
    >>> are_well_formed(join_items([b"a", b"bc"]), 2, ())
    True
    >>> are_well_formed(b"abc", 2, ())
    False
    """
    if count < 2:
        return count == 1 or not (body or buffers)
    if buffers or len(body) < 4 * count:
        return False
    return bool(4 * count + sum(struct.unpack_from(f"<{count}I", body)) == len(body))


def decode_items(body: Any, count: int, buffers: Sequence[Any]) -> Iterator[Any]:
    """Yield the items of a well-formed body.

    Raises
    ------
    Exception
        Whatever unpickling raises.
    """
    if count == 1:
        yield decode(body, buffers)
        return
    end = 4 * count
    for size in struct.unpack_from(f"<{count}I", body):
        start, end = end, end + size
        yield decode(body[start:end])
