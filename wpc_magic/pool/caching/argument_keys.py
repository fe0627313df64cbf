"""The hash of the arguments of a call, which is the same in each process as long as they are the same."""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Iterable, Sequence
from pickle import PickleBuffer
from typing import Any, NamedTuple

from ..wire.value_marks import FutureInValueError
from .module_versions import UnhashableError

__all__ = ["ArgumentsKey", "arguments_key", "pickle_key"]

_GLOBAL = b"\x93"  # the opcode with which a pickle refers to an object of a module
_MAX_WALKED = 10_000  # items in which sets are looked for
_SETS = (set, frozenset)


class ArgumentsKey(NamedTuple):
    """The hash of arguments.

    Parameters
    ----------
    digest : bytes
        The hash of their pickle.
    modules : frozenset of str
        The modules that their classes and functions are of: what these do is not in the pickle.
    """

    digest: bytes
    modules: frozenset[str]


def arguments_key(value: Any) -> ArgumentsKey:
    """Return the hash of a value.

    Equal values may have different hashes, such as two lists of which one holds a text twice, and the other
    one two equal texts. Different ones have the same only by chance, which is one in 2**256.

    Raises
    ------
    UnhashableError
        If it cannot be pickled, or its pickle is not what makes it up.

    Examples
    --------
    >>> arguments_key({"b", "a"}) == arguments_key({"a", "b"})
    True
    >>> arguments_key({"a": 1, "b": 2}) == arguments_key({"b": 2, "a": 1})  # their order is part of them
    False
    >>> from fractions import Fraction
    >>> sorted(arguments_key([Fraction(1, 2)]).modules)
    ['fractions']
    """
    buffers: list[memoryview] = []

    def take(buffer: PickleBuffer) -> None:
        buffers.append(buffer.raw())

    try:
        body = pickle.dumps(_in_order(value, [_MAX_WALKED]), 5, buffer_callback=take)
    except FutureInValueError:
        raise UnhashableError(
            "the future of a call is among its arguments, whose value is not known yet: give it the result()"
        ) from None
    except Exception as error:
        raise UnhashableError(f"it has an argument that plain pickle does not take: {error}") from None
    return pickle_key(body, buffers)


def pickle_key(body: bytes, buffers: Sequence[Any] = ()) -> ArgumentsKey:
    """Return the hash of a pickle with its out-of-band buffers.

    Raises
    ------
    UnhashableError
        If it cannot be seen what it refers to.
    """
    digest = hashlib.sha256(body)
    for each in buffers:
        view = memoryview(each)
        digest.update(b"%d\0" % view.nbytes)
        digest.update(view)
    modules = _modules_in(body, buffers) if _GLOBAL in body else frozenset[str]()
    return ArgumentsKey(digest.digest(), modules)


def _in_order(value: Any, left: list[int]) -> Any:
    """Return a value with its sets in an order that is the same in each process, if it is not too large."""
    kind = type(value)
    if kind in _SETS:
        items = [pickle.dumps(_in_order(each, left), 5) for each in value]
        return _Set, kind.__name__, sorted(items)
    if kind not in (list, tuple, dict):
        return value
    left[0] -= len(value)
    if left[0] < 0:
        return value
    if kind is dict:
        items = [_in_order(each, left) for each in value.values()]
        same = all(new is old for new, old in zip(items, value.values(), strict=True))
        return value if same else dict(zip(value, items, strict=True))
    items = [_in_order(each, left) for each in value]
    same = all(new is old for new, old in zip(items, value, strict=True))
    return value if same else kind(items)


class _Set:
    """Stands before the items of a set: no other value has it."""


def _modules_in(body: bytes, buffers: Iterable[Any]) -> frozenset[str]:
    """Return the modules that a pickle refers to; nothing is imported, and no code of these runs."""
    found = _References(body, buffers)
    try:
        found.load()
    except Exception as error:
        raise UnhashableError(f"what an argument refers to cannot be seen: {error!r}") from None
    return frozenset(found.modules)


class _References(pickle.Unpickler):
    def __init__(self, body: bytes, buffers: Iterable[Any]) -> None:
        super().__init__(io.BytesIO(body), buffers=buffers)
        self.modules: set[str] = set()

    def find_class(self, module: str, name: str) -> Any:
        if module not in (__name__, "builtins"):
            self.modules.add(module)
        return _Anything


class _Anything:
    """Takes the place of any class or function, and of what these make."""

    def __new__(cls, *_: Any, **__: Any) -> _Anything:
        return object.__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __call__(self, *_: Any, **__: Any) -> _Anything:
        return self

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    __setstate__ = append = extend = add = update = __call__
