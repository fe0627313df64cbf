"""The arguments of a call as text, for events and errors: made only when something has gone wrong.

A call keeps its arguments encoded, because it may have to be sent again. To decode them as workers do would
run user code (`__reduce__`, `__setstate__`, imports) in the thread that holds the pool's lock. So everything
that is not a plain value is replaced by a stand-in, which knows only the name of its class.
"""

from __future__ import annotations

import datetime
import decimal
import functools
import io
import itertools
import pathlib
import pickle
import struct
from typing import TYPE_CHECKING, Any, Self

from ..checks import shown
from ..wire.chunk_arguments import arguments_of_one, decoded_keywords
from ..wire.passed_values import joined
from ..wire.seeded import Seeded
from ..wire.value_marks import as_it_is, value_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["arguments_of", "arguments_of_item", "text_of_value"]

_MAX_SIZE = 1 << 18  # bytes of a pickle: to read more takes too long under the lock
_MAX_LENGTH = 200  # characters

_PLAIN: dict[tuple[str, str], type] = {
    (each.__module__, each.__name__): each
    for each in (
        complex,
        range,
        slice,
        datetime.date,
        datetime.datetime,
        datetime.time,
        datetime.timedelta,
        decimal.Decimal,
        pathlib.PosixPath,
        pathlib.PurePosixPath,
        Seeded,
    )
}
"""Classes whose instances are made as they are: that is quick, and runs no user code.

Numbers, texts, lists, tuples, dicts and sets have their own codes in a pickle.
"""

_MADE_BY = {"_frombuffer": "ndarray", "_Scalar": "scalar"}
"""Classes by the helpers that make their instances, of which the pickle says nothing else."""


class _StandIn:
    """An object of another class: it takes whatever the pickle does to it, and does nothing."""

    name: str

    def __init__(self, *args: object, **kwargs: object) -> None:
        pass

    def __new__(cls, *args: object, **kwargs: object) -> Self:
        made = super().__new__(cls)
        first = args[0] if args else None
        # What is called may be a helper that makes an object of the class that it is given.
        kind = first if isinstance(first, type) and issubclass(first, _StandIn) else cls
        made.name = _MADE_BY.get(kind.__name__, kind.__name__)
        return made

    def __repr__(self) -> str:
        return f"<{self.name} object>"

    def __setstate__(self, state: object) -> None:
        pass

    def __setitem__(self, key: object, value: object) -> None:
        pass

    def append(self, item: object) -> None:
        """Add an item, as a list does."""

    def extend(self, items: object) -> None:
        """Add items, as a list does."""

    def add(self, item: object) -> None:
        """Add an item, as a set does."""


class _DType(_StandIn):
    """Stands for the type of a number of NumPy's."""

    code: object
    order = "="

    def __new__(cls, *args: object, **kwargs: object) -> Self:
        made = super().__new__(cls)
        made.name = "dtype"
        made.code = args[0] if args else None
        return made

    def __setstate__(self, state: object) -> None:
        if isinstance(state, tuple) and len(state) > 1 and state[1] in ("<", ">"):
            self.order = state[1]


class _Scalar(_StandIn):
    """Stands for a number of NumPy's of a type that has none of Python's."""


def _number(kind: object = None, data: object = None) -> object:
    """Return the number that a number of NumPy's has as its bytes."""
    code = _NUMBERS.get(kind.code) if isinstance(kind, _DType) and isinstance(kind.code, str) else None
    if code is None or not isinstance(kind, _DType) or not isinstance(data, bytes):
        return _Scalar()
    (number,) = struct.unpack(kind.order + code, data)
    return number


_NUMBERS = dict(
    zip(["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"], "efdbhiqBHIQ?", strict=True)
)
"""The types of NumPy's numbers in a pickle, and what they are for `struct`."""


class _Mark:
    """Stands for the value of another call; its text is that call."""

    def __init__(self, number: object, call: object) -> None:
        self._call = str(call)

    def __repr__(self) -> str:
        return f"<{self._call}>"


_OURS: dict[tuple[str, str], Any] = {
    (value_of.__module__, value_of.__name__): _Mark,
    ("numpy", "dtype"): _DType,
    ("numpy._core.multiarray", "scalar"): _number,
    ("numpy.core.multiarray", "scalar"): _number,  # before NumPy 2
    (as_it_is.__module__, as_it_is.__name__): as_it_is,
    (decoded_keywords.__module__, decoded_keywords.__name__): lambda body, *buffers: _read_keywords(body),
    # Of the arguments only: the values themselves may be large.
    (joined.__module__, joined.__name__): lambda body, buffers, values: _unpickled(body),
}
"""What is read in its own way: NumPy's numbers, and what stands in arguments for something else.

See `passed_values` and `chunk_arguments`.
"""


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Return a plain class, or the class of a stand-in."""
        plain = _PLAIN.get((module, name)) or _OURS.get((module, name))
        return plain if plain is not None else type(name.rpartition(".")[2], (_StandIn,), {})


def arguments_of(body: Any, items: int) -> str:
    """Return the arguments of a call, shortened; empty if they are not known, or are too large to read.

    Parameters
    ----------
    body : bytes
        The encoded arguments.
    items : int
        As in `Call`.

    Examples
    --------
    >>> from wpc_magic.pool.wire.codec import encode
    >>> arguments_of(encode(((3, "a"), {"scale": 0.5}))[0], 0)
    "(3, 'a', scale=0.5)"
    >>> arguments_of(encode(([3, 4, 5],))[0], 3)
    '3 items: [3, 4, 5]'
    """

    def write(value: Any) -> str:
        value = _without_function(value)
        return _items(value, items) if items else _signature(*value)

    return _text_of(body, write)


def arguments_of_item(body: Any, item: int) -> str:
    """Return the arguments of one item of a chunk of a map, shortened; empty as with `arguments_of`.

    Examples
    --------
    >>> from wpc_magic.pool.wire.chunk_arguments import Keywords
    >>> from wpc_magic.pool.wire.codec import encode
    >>> arguments_of_item(encode(([3, 4, 5], "abc"))[0], 1)
    "(4, 'b')"
    >>> arguments_of_item(encode(([3, 4, 5], Keywords({"cv": 3})))[0], 1)
    '(4, cv=3)'
    """
    return _text_of(body, lambda value: _signature(*arguments_of_one(_without_function(value), item)))


def text_of_value(body: Any) -> str:
    """Return an encoded value as text, shortened; empty as with `arguments_of`.

    Examples
    --------
    >>> from wpc_magic.pool.wire.codec import encode
    >>> text_of_value(encode([0.5, None])[0])
    '[0.5, None]'
    """
    return _text_of(body, shown)


def _text_of(body: Any, write: Callable[[Any], str]) -> str:
    body = bytes(body[: _MAX_SIZE + 1])
    # A zero byte: the pickle is in pieces, because a part of it is large.
    if not body or not body[0] or len(body) > _MAX_SIZE:
        return ""
    try:
        text = write(_read(body))
    except Exception:  # a pickle that uses more than a stand-in can do
        return ""
    return text if len(text) <= _MAX_LENGTH else text[: _MAX_LENGTH - 1] + "…"


@functools.lru_cache(maxsize=2)  # many items of one chunk may have failed; and its keyword arguments
def _read(body: bytes) -> Any:
    return _unpickled(body)


def _unpickled(body: bytes) -> Any:
    # Stand-ins take anything for a large buffer.
    buffers: Iterator[bytes] = itertools.repeat(b"")
    return _Reader(io.BytesIO(body), buffers=buffers).load()


def _without_function(value: Any) -> Any:
    """Return the arguments alone: one that is not registered may stand before them."""
    return value[1] if len(value) == 2 and isinstance(value[1], tuple) else value


def _read_keywords(body: bytes, *buffers: object) -> Any:
    body = body[::-1]
    return _read(body) if body[0] else {}  # in pieces, which are large


def _signature(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    parts = [shown(each) for each in itertools.islice(args, _MAX_LENGTH)]
    parts += [f"{name}={shown(each)}" for name, each in itertools.islice(kwargs.items(), _MAX_LENGTH)]
    return f"({', '.join(parts)})"


def _items(columns: tuple[Any, ...], count: int) -> str:
    rows = [arguments_of_one(columns, n)[0] for n in range(count)]
    is_plain = len(rows[0]) == 1 and not isinstance(columns[0], tuple)
    items = [row[0] for row in rows] if is_plain else rows
    return f"{count} item{'s' if count > 1 else ''}: {shown(items)}"
