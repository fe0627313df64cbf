"""Arguments that contain the values of other calls, each as its worker has pickled it.

Nobody unpickles such a value on its way. The arguments were pickled when the call was made, with a mark for
each value (`value_marks`). As soon as the values are there, both are put into one pickle, whose large buffers
stay what they are: those of the arguments first, then those of each value. To unpickle that is what any
worker does with any arguments.
"""

from __future__ import annotations

from _pickle import PickleBuffer, dumps

from wpc_magic.pool.wire.codec import decode
from wpc_magic.pool.wire.value_marks import MARKS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

__all__ = ["joined", "with_values"]

_A_BUFFER = PickleBuffer(bytearray(1))  # stands for any that is passed out of band


class _Joined:
    """Is pickled as a call of `joined`."""

    def __init__(self, *parts: Any) -> None:
        self._parts = parts

    def __reduce__(self) -> Any:
        return joined, self._parts


def with_values(body: bytes, count: int, values: Sequence[tuple[str, bytes, int]]) -> bytes:
    """Return pickled arguments together with the values that their marks stand for.

    Parameters
    ----------
    body : bytes
        The pickled arguments.
    count : int
        How many buffers they have.
    values : sequence of (str, bytes, int)
        Of each value: its call, its pickle, and how many buffers that has.

    Examples
    --------
    >>> from wpc_magic.pool.wire.codec import encode
    >>> class Mark:
    ...     def __reduce__(self): return value_of, (0, "a #1")
    >>> from wpc_magic.pool.wire.value_marks import value_of
    >>> decode(with_values(encode(["x", Mark()])[0], 0, [("a #1", encode({"y": 2})[0], 0)]))
    ['x', {'y': 2}]
    """
    parts = [(call, bytes(value), [_A_BUFFER] * n) for call, value, n in values]
    whole = _Joined(bytes(body), [_A_BUFFER] * count, parts)
    return dumps(whole, 5, buffer_callback=lambda buffer: False)


def joined(body: bytes, buffers: Sequence[Any], values: Sequence[tuple[str, bytes, Sequence[Any]]]) -> Any:
    """Return unpickled arguments, with the values in the places of their marks; pickle calls this."""
    before, found = MARKS.values, []
    for call, value, of_value in values:
        try:
            found.append(decode(value, of_value))
        except Exception as error:
            error.add_note(f"while the value of {call} was unpickled")
            raise
    MARKS.values = found
    try:
        return decode(body, buffers)
    finally:
        MARKS.values = before
