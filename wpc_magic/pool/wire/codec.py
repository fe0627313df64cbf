"""Values to bytes and back: pickle 5 with its large buffers apart, cloudpickle where it must be.

Plain pickle is tried first: it is several times faster. It is not trusted where it names ``__main__``: what
is defined there exists in this process only, so it goes by value, which cloudpickle does.

Where a value has large parts that pickle does not put apart, its pickle comes in pieces: the body begins with
a zero, the number of pieces, and their places in what follows; and the pieces are the first of the buffers.
"""

from __future__ import annotations

import struct
import sys

# `pickle` has these same functions, and a slow copy of them in Python, and loads `re`.
from _pickle import dumps, loads

from wpc_magic.pool.wire.late import own_path
from wpc_magic.pool.wire.streams import APART, read_pieces, write_pieces

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from pickle import PickleBuffer
    from typing import Any

__all__ = ["decode", "encode", "encode_whole", "pack"]

_PIECES = struct.Struct("<BxxxI")
_MOST_SEARCHED = 1 << 18  # a longer piece is one object's bytes, and not a part of the pickle's own text
_MOST_BUFFERS = 65_000  # a frame counts them in 16 bits
_MOST_APART = 60_000  # of which pickle itself puts apart

_PLAIN = frozenset({type(None), bool, int, float, complex, str, bytes})
"""These hold nothing else, so a text that says ``__main__`` is just a text."""


def pack(message: object) -> bytes:
    """Return a message of ours as a pickle, all in one."""
    return dumps(message, 5)


def encode_whole(value: object) -> bytes:
    """Return `value` as one pickle, whatever is in it; see `encode`."""
    try:
        body = dumps(value, 5)
        if b"__main__" not in body:
            return body
    except Exception:
        pass  # as in `encode`
    whole: bytes = _cloudpickle().dumps(value, protocol=5)
    return whole


def encode(value: object, streaming: bool = False) -> tuple[bytes, list[memoryview]]:
    """Return `value` as a pickle and the large buffers that it refers to.

    Parameters
    ----------
    value : object
        Anything that cloudpickle can carry.
    streaming : bool
        Whether it most likely has large bytes or the like in it, which are then copied once less; for small
        values it takes longer.

    Returns
    -------
    body : bytes
        The pickle, protocol 5.
    buffers : list of memoryview
        Flat views, of 64 KiB or more each, of the memory of `value` itself: not copied.

    Raises
    ------
    Exception
        Whatever pickling raises.

    Examples
    --------
    >>> decode(*encode({"a": [1, 2]}))
    {'a': [1, 2]}
    >>> decode(*encode(lambda x: x + 1))(1)
    2
    """
    if type(value) in _PLAIN:
        return _apart(dumps(value, 5), [], [])
    buffers: list[memoryview] = []

    def keep_apart(buffer: PickleBuffer) -> bool:
        view = buffer.raw()
        if view.nbytes < APART or len(buffers) == _MOST_APART:
            return True
        buffers.append(view)
        return False

    try:
        if streaming:
            pieces = write_pieces(value, keep_apart)
            body, large = pieces.body, pieces.large
            own = [body, *(piece for _, piece in large if len(piece) < _MOST_SEARCHED)]
            if not any(b"__main__" in text for text in own):
                return _apart(body, large, buffers)
        else:
            body = dumps(value, 5, buffer_callback=keep_apart)
            if b"__main__" not in body:
                return (body, buffers) if len(body) < APART else _apart(body, [], buffers)
    except Exception:
        pass  # cloudpickle decides, and its error is the better one
    buffers.clear()
    body = _cloudpickle().dumps(value, protocol=5, buffer_callback=keep_apart)
    return _apart(body, [], buffers)


def _apart(
    body: bytes, large: list[tuple[int, Any]], buffers: list[memoryview]
) -> tuple[bytes, list[memoryview]]:
    """Put large pieces among the buffers; a body that is large itself is one."""
    if not large:
        if len(body) < APART:
            return body, buffers
        large, body = [(0, body)], b""
    if len(large) + len(buffers) > _MOST_BUFFERS:
        return _apart(_joined(body, large), [], buffers)
    places = struct.pack(f"<{len(large)}Q", *(place for place, _ in large))
    views = [memoryview(piece) for _, piece in large]
    return _PIECES.pack(0, len(large)) + places + body, [*views, *buffers]


def _joined(body: bytes, large: list[tuple[int, Any]]) -> bytes:
    parts, start = [], 0
    for place, piece in large:
        parts += [body[start:place], piece]
        start = place
    return b"".join([*parts, body[start:]])


def decode(body: Any, buffers: Sequence[Any] = ()) -> Any:
    """Return the value of a pickle.

    Parameters
    ----------
    body : bytes-like
        The pickle.
    buffers : sequence of bytes-like
        What was kept apart, in order. Arrays are built on this memory: they can be written to if it can.

    Raises
    ------
    Exception
        Whatever unpickling raises.
    """
    if not buffers:
        return loads(body)
    if body[0]:
        return loads(body, buffers=buffers)
    _, count = _PIECES.unpack_from(body)
    places = struct.unpack_from(f"<{count}Q", body, _PIECES.size)
    small = memoryview(body)[_PIECES.size + 8 * count :]
    pieces, rest = buffers[:count], buffers[count:]
    if count == 1 and not len(small):
        return loads(pieces[0], buffers=rest)
    return read_pieces(small, list(zip(places, pieces, strict=True)), rest)


def _cloudpickle() -> Any:
    if "cloudpickle" not in sys.modules:
        with own_path:
            import cloudpickle
    else:
        import cloudpickle  # it may be half loaded, by another thread: this waits
    return cloudpickle
