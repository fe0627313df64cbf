"""Constants that cannot drift: containers that raise when a function changes them.

Each is a subclass of the kind that it stands for, so ``isinstance``, ``json.dumps`` and comparison work as
before. Pickled or copied, it is the plain kind again.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

__all__ = ["FrozenByteArray", "FrozenDict", "FrozenList", "FrozenSet", "freeze"]


def _refuse(self: object, *args: object, **kwargs: object) -> NoReturn:
    kind = type(self).__mro__[1].__name__
    raise TypeError(f"a constant cannot be changed; work on a copy: {kind}(value)")


def _frozen(*methods: str) -> dict[str, Any]:
    return dict.fromkeys(methods, _refuse)


_SEQUENCE = ("__setitem__", "__delitem__", "__iadd__", "__imul__", "append", "extend", "insert", "pop")
_MORE = ("remove", "clear", "reverse")


class FrozenDict(dict):  # type: ignore[type-arg]
    """A dict that raises `TypeError` on change."""

    locals().update(
        _frozen("__setitem__", "__delitem__", "__ior__", "clear", "pop", "popitem", "setdefault", "update")
    )

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return dict, (list(self.items()),)

    def __copy__(self) -> dict[Any, Any]:
        return dict(self)


class FrozenList(list):  # type: ignore[type-arg]
    """A list that raises `TypeError` on change."""

    locals().update(_frozen(*_SEQUENCE, *_MORE, "sort"))

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return list, (tuple(self),)

    def __copy__(self) -> list[Any]:
        return list(self)


class FrozenSet(set):  # type: ignore[type-arg]
    """A set that raises `TypeError` on change; not hashable, as a set is not."""

    locals().update(
        _frozen("add", "clear", "discard", "pop", "remove", "update", "difference_update")
        | _frozen("intersection_update", "symmetric_difference_update")
        | _frozen("__iand__", "__ior__", "__isub__", "__ixor__")
    )

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return set, (list(self),)

    def __copy__(self) -> set[Any]:
        return set(self)


class FrozenByteArray(bytearray):
    """A bytearray that raises `TypeError` on change through its own methods."""

    locals().update(_frozen(*_SEQUENCE, *_MORE))

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return bytearray, (bytes(self),)

    def __copy__(self) -> bytearray:
        return bytearray(self)


def freeze(value: Any) -> Any:
    """Return `value` with every exact dict, list, set and bytearray in it read-only, as deep as they nest.

    Arrays of numpy are made read-only. Other objects stay what they are, and what they hold is not looked
    into.

    Examples
    --------
    >>> freeze({"a": [1]})["a"].append(2)
    Traceback (most recent call last):
    TypeError: a constant cannot be changed; work on a copy: list(value)
    """
    return _freeze(value, {})


def _freeze(value: Any, seen: dict[int, Any]) -> Any:
    kind = type(value)
    if kind not in _KINDS and kind is not tuple:
        numpy = sys.modules.get("numpy")
        if numpy is not None and kind is numpy.ndarray:
            value.flags.writeable = False
        return value
    if id(value) in seen:
        return seen[id(value)]
    new: Any
    if kind is dict:
        new = seen[id(value)] = FrozenDict()
        dict.update(new, {key: _freeze(item, seen) for key, item in value.items()})
    elif kind is list:
        new = seen[id(value)] = FrozenList()
        list.extend(new, [_freeze(item, seen) for item in value])
    elif kind is tuple:
        new = tuple(_freeze(item, seen) for item in value)
        if all(a is b for a, b in zip(new, value, strict=True)):
            new = value
        seen[id(value)] = new
    else:  # what a set holds is hashable, and so read-only already
        new = seen[id(value)] = _KINDS[kind](value)
    return new


_KINDS: dict[type, Any] = {dict: FrozenDict, list: FrozenList, set: FrozenSet, bytearray: FrozenByteArray}
