"""Values to bytes and back: pickle 5 with its large buffers apart, cloudpickle where it must be.

Plain pickle is tried first: it is several times faster. It is not trusted where it names ``__main__``: what
is defined there exists in this process only, so it goes by value, which cloudpickle does.
"""

from __future__ import annotations

import sys

# `pickle` has these same functions, and a slow copy of them in Python, and loads `re`.
from _pickle import dumps, loads

from wpc_magic.pool.wire.late import own_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from pickle import PickleBuffer
    from typing import Any

__all__ = ["decode", "encode"]

_APART = 1 << 16
"""Buffers of fewer bytes stay in the pickle: a copy is cheaper than an entry of their own."""

_MOST_APART = 60_000  # a frame counts them in 16 bits

_PLAIN = frozenset({type(None), bool, int, float, complex, str, bytes})
"""These hold nothing else, so a text that says ``__main__`` is just a text."""


def encode(value: object) -> tuple[bytes, list[memoryview]]:
    """Return `value` as a pickle and the large buffers that it refers to.

    Parameters
    ----------
    value : object
        Anything that cloudpickle can carry.

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
        return dumps(value, 5), []
    buffers: list[memoryview] = []

    def keep_apart(buffer: PickleBuffer) -> bool:
        view = buffer.raw()
        if view.nbytes < _APART or len(buffers) == _MOST_APART:
            return True
        buffers.append(view)
        return False

    try:
        body = dumps(value, 5, buffer_callback=keep_apart)
        if b"__main__" not in body:
            return body, buffers
    except Exception:
        pass  # cloudpickle decides, and its error is the better one
    buffers.clear()
    return _cloudpickle().dumps(value, protocol=5, buffer_callback=keep_apart), buffers


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
    return loads(body, buffers=buffers) if buffers else loads(body)


def _cloudpickle() -> Any:
    if "cloudpickle" not in sys.modules:
        with own_path:
            import cloudpickle
    else:
        import cloudpickle  # it may be half loaded, by another thread: this waits
    return cloudpickle
