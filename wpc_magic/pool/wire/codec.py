"""Serialization of values: pickle 5 with out-of-band buffers, and cloudpickle where pickle does not suffice.

Plain pickle is tried first: it is several times faster. Its result is discarded if it refers to ``__main__``:
objects defined there exist in this process only, so cloudpickle serializes them by value (`classes`).

Where a value has large parts that pickle does not pass out of band, its pickle is split into pieces: the body
begins with a zero byte, the number of large pieces, and their offsets in the rest of the body; the large
pieces are the first buffers.
"""

from __future__ import annotations

import struct

# `pickle` exports the same functions, but also defines slow versions in Python and loads `re`.
from _pickle import dumps, loads

from wpc_magic.pool.wire.limits import MAX_BUFFERS
from wpc_magic.pool.wire.pickle_pieces import MIN_OUT_OF_BAND, read_pieces, write_pieces
from wpc_magic.pool.wire.value_marks import FutureInValueError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pickle import PickleBuffer
    from typing import Any, Protocol

    class Series(Protocol):
        """Values that are pickled one after another.

        Attributes
        ----------
        by_value : bool
            Whether the pickle of the last one has the name of the notebook's module in it.
        """

        by_value: bool


__all__ = ["decode", "encode", "encode_arguments", "encode_whole", "pack"]

_PIECES = struct.Struct("<BxxxI")
_MAX_SEARCHED = 1 << 18  # bytes; a longer piece is the data of one object, and contains no pickle opcodes
_MAX_OUT_OF_BAND = 60_000  # of these, for pickle's own out-of-band buffers

_PLAIN = frozenset({type(None), bool, int, float, complex, str, bytes})
"""These contain no other objects, so a string that says ``__main__`` is just a string."""


def pack(message: object) -> bytes:
    """Return a protocol message as one pickle."""
    return dumps(message, 5)


def encode_whole(value: object) -> bytes:
    """Return `value` as one pickle without out-of-band buffers; see `encode`."""
    try:
        body = dumps(value, 5)
        if b"__main__" not in body:
            return body
    except Exception:
        pass  # as in `encode`
    return _dumps_by_value(value)


def encode(
    value: object, streaming: bool = False, series: Series | None = None
) -> tuple[bytes, list[memoryview]]:
    """Return `value` as a pickle and the large buffers that it refers to.

    Parameters
    ----------
    value : object
        Any value that cloudpickle supports.
    streaming : bool
        Whether the value probably contains large bytes or the like: saves one copy of these, but is slower
        for small values.
    series : Series, optional
        What is known of similar values: where pickle did not suffice for the last one, it is not tried.

    Returns
    -------
    body : bytes
        The pickle, protocol 5.
    buffers : list of memoryview
        Flat views, of 64 KiB or more each, of the memory of `value` itself, without a copy.

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
        body = dumps(value, 5)
        return (body, []) if len(body) < MIN_OUT_OF_BAND else _split(body, [], [])
    buffers: list[memoryview] = []

    def take_out_of_band(buffer: PickleBuffer) -> bool:
        view = buffer.raw()
        if view.nbytes < MIN_OUT_OF_BAND or len(buffers) == _MAX_OUT_OF_BAND:
            return True
        buffers.append(view)
        return False

    try:
        if series is not None and series.by_value:
            pass
        elif streaming:
            pieces = write_pieces(value, take_out_of_band)
            body, large = pieces.body, pieces.large
            searched = [body, *(piece for _, piece in large if len(piece) < _MAX_SEARCHED)]
            if not any(b"__main__" in piece for piece in searched):
                return _split(body, large, buffers)
        else:
            body = dumps(value, 5, buffer_callback=take_out_of_band)
            if b"__main__" not in body:
                return (body, buffers) if len(body) < MIN_OUT_OF_BAND else _split(body, [], buffers)
    except FutureInValueError:
        raise  # cloudpickle would find it as well
    except Exception:
        pass  # cloudpickle may succeed; otherwise its error is the better one
    buffers.clear()
    body = _dumps_by_value(value, take_out_of_band)
    if series is not None:  # also where that is just a text in it, as pickle did not know
        series.by_value = b"__main__" in body
    return _split(body, [], buffers)


def encode_arguments(
    args: tuple[Any, ...], kwargs: dict[str, Any], streaming: bool = False
) -> tuple[bytes, Sequence[memoryview]]:
    """Return the arguments of a call as `encode` does, sooner where they are small and plain.

    Examples
    --------
    >>> decode(*encode_arguments((1, "two"), {}))
    ((1, 'two'), {})
    """
    if not kwargs:
        for each in args:
            if type(each) not in _PLAIN:
                break
        else:  # so no buffer is passed out of band, and what says ``__main__`` is just a text
            body = dumps((args, kwargs), 5)
            if len(body) < MIN_OUT_OF_BAND:
                return body, ()
    return encode((args, kwargs), streaming)


def _split(
    body: bytes, large: list[tuple[int, Any]], buffers: list[memoryview]
) -> tuple[bytes, list[memoryview]]:
    """Move large pieces to the buffers; a body that is large itself becomes one."""
    if not large:
        if len(body) < MIN_OUT_OF_BAND:
            return body, buffers
        large, body = [(0, body)], b""
    if len(large) + len(buffers) > MAX_BUFFERS:
        return _split(_joined(body, large), [], buffers)
    offsets = struct.pack(f"<{len(large)}Q", *(offset for offset, _ in large))
    views = [memoryview(piece) for _, piece in large]
    return _PIECES.pack(0, len(large)) + offsets + body, [*views, *buffers]


def _joined(body: bytes, large: list[tuple[int, Any]]) -> bytes:
    parts, start = [], 0
    for offset, piece in large:
        parts += [body[start:offset], piece]
        start = offset
    return b"".join([*parts, body[start:]])


def decode(body: Any, buffers: Sequence[Any] = ()) -> Any:
    """Return the value of a pickle.

    Parameters
    ----------
    body : bytes-like
        The pickle.
    buffers : sequence of bytes-like
        The out-of-band buffers, in order. Arrays use this memory directly: they are writable if it is.

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
    offsets = struct.unpack_from(f"<{count}Q", body, _PIECES.size)
    small = memoryview(body)[_PIECES.size + 8 * count :]
    pieces, rest = buffers[:count], buffers[count:]
    if count == 1 and not len(small):
        return loads(pieces[0], buffers=rest)
    return read_pieces(small, list(zip(offsets, pieces, strict=True)), rest)


def _dumps_by_value(value: object, buffer_callback: Callable[[PickleBuffer], bool] | None = None) -> bytes:
    from wpc_magic.pool.wire.classes import dumps  # it loads cloudpickle

    return dumps(value, buffer_callback)
