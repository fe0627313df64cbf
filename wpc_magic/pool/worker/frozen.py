"""Read-only containers for constants, so that no function changes a constant in one worker only.

Each is a subclass of the plain type that it replaces, and has its name, so ``isinstance``, ``json.dumps``,
``repr`` and comparison work as before. To pickle or copy one, or to call its type as libraries do, gives the
plain type.
"""

from __future__ import annotations

import sys
from collections import Counter, OrderedDict, defaultdict, deque
from types import MappingProxyType

from wpc_magic.pool.worker.heap_guard import guard_heapq
from wpc_magic.pool.worker.yaml_support import teach_yaml

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

    Convert = Callable[[Any, dict[int, Any]], Any]

__all__ = [
    "ATOMS",
    "FrozenByteArray",
    "FrozenCounter",
    "FrozenDefaultDict",
    "FrozenDeque",
    "FrozenDict",
    "FrozenList",
    "FrozenOrderedDict",
    "FrozenSet",
    "freeze",
    "is_container",
    "items_of",
    "rebuilt",
]


def _refuse(self: object, *args: object, **kwargs: object) -> NoReturn:
    plain = type(self).__mro__[1].__name__
    copy = "value.copy()" if plain == "defaultdict" else f"{plain}(value)"  # its first argument is no mapping
    raise TypeError(f"a constant cannot be changed; work on a copy: {copy}")


def _read_only(plain: Any, *methods: str) -> dict[str, Any]:
    """Return what the read-only kind of a type has: it refuses these methods, and copies are plain."""

    def make(cls: type, *args: Any, **kwargs: Any) -> Any:  # `type(x)(...)` is how many functions make a copy
        return plain(*args, **kwargs)

    own: dict[str, Any] = dict.fromkeys((*methods, "__init__", "__setattr__", "__delattr__"), _refuse)
    own |= {"__slots__": (), "__new__": make}
    if hasattr(plain, "copy"):
        own["__copy__"] = lambda self: plain.copy(self)
    if hasattr(plain, "fromkeys"):
        own["fromkeys"] = plain.fromkeys
    return own


_SEQUENCE = ("__setitem__", "__delitem__", "__iadd__", "__imul__", "append", "extend", "insert", "pop")
_SEQUENCE_MORE = ("remove", "clear", "reverse")
_DICT = ("__setitem__", "__delitem__", "__ior__", "clear", "pop", "popitem", "setdefault", "update")


class FrozenDict(dict):  # type: ignore[type-arg]
    """A dict that raises `TypeError` on change."""

    locals().update(_read_only(dict, *_DICT))

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return dict, (), None, None, iter(self.items())


class FrozenDefaultDict(defaultdict):  # type: ignore[type-arg]
    """A defaultdict that raises `TypeError` on change; to read a missing key does not insert it."""

    locals().update(_read_only(defaultdict, *_DICT))

    def __missing__(self, key: Any) -> Any:
        if self.default_factory is None:
            raise KeyError(key)
        return freeze(self.default_factory())  # read-only as all others: a change of it would be lost

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return defaultdict, (self.default_factory,), None, None, iter(self.items())


class FrozenOrderedDict(OrderedDict):  # type: ignore[type-arg]
    """An OrderedDict that raises `TypeError` on change."""

    locals().update(_read_only(OrderedDict, *_DICT, "move_to_end"))

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return OrderedDict, (), None, None, iter(self.items())


class FrozenCounter(Counter):  # type: ignore[type-arg]
    """A Counter that raises `TypeError` on change."""

    locals().update(_read_only(Counter, *_DICT, "subtract", "__iadd__", "__isub__", "__iand__"))

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return Counter, (), None, None, iter(self.items())


class FrozenList(list):  # type: ignore[type-arg]
    """A list that raises `TypeError` on change."""

    locals().update(_read_only(list, *_SEQUENCE, *_SEQUENCE_MORE, "sort"))

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return list, (), None, iter(self)


class FrozenDeque(deque):  # type: ignore[type-arg]
    """A deque that raises `TypeError` on change."""

    locals().update(
        _read_only(deque, *_SEQUENCE, *_SEQUENCE_MORE, "appendleft", "extendleft", "popleft", "rotate")
    )

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return deque, ((), self.maxlen), None, iter(self)


class FrozenSet(set):  # type: ignore[type-arg]
    """A set that raises `TypeError` on change; not hashable, as a set is not."""

    def __repr__(self) -> str:  # a set's own writes the name of a subclass
        return repr(set(self))

    locals().update(
        _read_only(
            set,
            *("add", "clear", "discard", "pop", "remove", "update", "difference_update"),
            *("intersection_update", "symmetric_difference_update"),
            *("__iand__", "__ior__", "__isub__", "__ixor__"),
        )
    )

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return set, (list(self),)


class FrozenByteArray(bytearray):
    """A bytearray that raises `TypeError` on change; before Python 3.12 only through its own methods."""

    locals().update(_read_only(bytearray, *_SEQUENCE, *_SEQUENCE_MORE))

    if sys.version_info >= (3, 12):

        def __buffer__(self, flags: int) -> memoryview:
            return super().__buffer__(flags).toreadonly()

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return bytearray, (bytes(self),)


def freeze(value: Any) -> Any:
    """Return `value` with every container in it read-only, at any depth.

    Containers are exact dicts, lists, sets, bytearrays, deques, Counters, defaultdicts and OrderedDicts, also
    in tuples, named tuples and mapping proxies. Arrays of numpy are made read-only in place, so the value has
    to be the caller's own. Other objects, and their contents, stay writable.

    Examples
    --------
    >>> freeze({"a": [1]})["a"].append(2)
    Traceback (most recent call last):
    TypeError: a constant cannot be changed; work on a copy: list(value)
    """
    teach_yaml(_READ_ONLY)
    return _freeze(value, {})


ATOMS = frozenset({type(None), bool, int, float, complex, str, bytes})
"""The types of most items, which need no further look."""


def _freeze(value: Any, seen: dict[int, Any]) -> Any:
    kind = type(value)
    if kind in ATOMS:
        return value
    if id(value) in seen:
        return seen[id(value)]
    if is_container(kind):
        return rebuilt(value, seen, _freeze)
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.ndarray):
        seen[id(value)] = value
        _freeze_array(value, seen, numpy)
    return value


def _freeze_array(array: Any, seen: dict[int, Any], numpy: Any) -> None:
    if array.dtype == object and array.ndim and array.flags.writeable:
        for position, item in enumerate(array.flat):
            frozen = _freeze(item, seen)
            if frozen is not item:
                array[numpy.unravel_index(position, array.shape)] = frozen
    for part in (array, getattr(array, "_mask", None)):  # a masked array has two
        if isinstance(part, numpy.ndarray):
            part.flags.writeable = False


# -- making a container again ---------------------------------------------------------------------------


def is_container(kind: type) -> bool:
    """Tell whether values of a type consist of items that may have to be converted."""
    return kind in _MAKERS or issubclass(kind, tuple)


def items_of(container: Any) -> Any:
    """Return the items of a container that may have to be converted."""
    kind = type(container)
    if kind in _MAPPINGS:
        return container.values()
    return container if kind in _SEQUENCES or issubclass(kind, tuple) else ()


def rebuilt(value: Any, seen: dict[int, Any], convert: Convert) -> Any:
    """Return a read-only container with converted items.

    Parameters
    ----------
    value : object
        A container, plain or read-only.
    seen : dict
        The new values by the ids of the old ones; a container is added before its items are converted.
    convert : callable
        Given an item and `seen`, returns the new item.
    """
    make = _MAKERS.get(type(value), _make_tuple)
    return make(value, seen, convert)


def _make_mapping(new: Any, put: Any, value: Any, seen: dict[int, Any], convert: Convert) -> Any:
    seen[id(value)] = new
    for key, item in value.items():  # keys are hashable, and so read-only already
        put(new, key, convert(item, seen))
    return new


def _make_dict(value: Any, seen: dict[int, Any], convert: Convert) -> Any:
    return _make_mapping(dict.__new__(FrozenDict), dict.__setitem__, value, seen, convert)


def _make_defaultdict(value: Any, seen: dict[int, Any], convert: Convert) -> Any:
    new = defaultdict.__new__(FrozenDefaultDict)
    defaultdict.__init__(new, value.default_factory)
    return _make_mapping(new, dict.__setitem__, value, seen, convert)


def _make_ordered_dict(value: Any, seen: dict[int, Any], convert: Convert) -> Any:
    new = OrderedDict.__new__(FrozenOrderedDict)
    return _make_mapping(new, OrderedDict.__setitem__, value, seen, convert)


def _make_counter(value: Any, seen: dict[int, Any], convert: Convert) -> Any:
    return _make_mapping(dict.__new__(FrozenCounter), dict.__setitem__, value, seen, convert)


def _make_list(value: Any, seen: dict[int, Any], convert: Convert) -> Any:
    guard_heapq(FrozenList, _refuse)
    new = seen[id(value)] = list.__new__(FrozenList)
    list.extend(new, [convert(item, seen) for item in value])
    return new


def _make_deque(value: Any, seen: dict[int, Any], convert: Convert) -> Any:
    new = seen[id(value)] = deque.__new__(FrozenDeque)
    deque.__init__(new, (), value.maxlen)
    deque.extend(new, [convert(item, seen) for item in value])
    return new


def _make_tuple(value: Any, seen: dict[int, Any], convert: Convert) -> Any:
    items = [convert(item, seen) for item in value]
    new = value
    if any(item is not old for item, old in zip(items, value, strict=True)):
        kind = type(value)
        if kind is tuple or hasattr(kind, "_fields"):  # others may hold more than their items
            new = tuple.__new__(kind, items)
    seen[id(value)] = new
    return new


def _make_proxy(value: Any, seen: dict[int, Any], convert: Convert) -> Any:
    behind: Any = dict.__new__(FrozenDict)
    new = seen[id(value)] = MappingProxyType(behind)
    for key, item in value.items():
        dict.__setitem__(behind, key, convert(item, seen))
    return new


def _make_set(value: Any, seen: dict[int, Any], convert: Convert) -> Any:
    new = seen[id(value)] = set.__new__(FrozenSet)
    set.update(new, value)  # the items are hashable
    return new


def _make_bytearray(value: Any, seen: dict[int, Any], convert: Convert) -> Any:
    new = seen[id(value)] = bytearray.__new__(FrozenByteArray)
    bytearray.__init__(new, value)
    return new


_KINDS: dict[type, tuple[type, Callable[[Any, dict[int, Any], Convert], Any]]] = {
    dict: (FrozenDict, _make_dict),
    defaultdict: (FrozenDefaultDict, _make_defaultdict),
    OrderedDict: (FrozenOrderedDict, _make_ordered_dict),
    Counter: (FrozenCounter, _make_counter),
    list: (FrozenList, _make_list),
    deque: (FrozenDeque, _make_deque),
    set: (FrozenSet, _make_set),
    bytearray: (FrozenByteArray, _make_bytearray),
}
for _plain, (_kind, _make) in _KINDS.items():
    _kind.__name__ = _plain.__name__  # `repr` and the messages of Python show it

_READ_ONLY = {plain: kind for plain, (kind, _) in _KINDS.items()}
_MAKERS: dict[type, Any] = {
    **{plain: make for plain, (_, make) in _KINDS.items()},
    **dict(_KINDS.values()),
    MappingProxyType: _make_proxy,
}
_SEQUENCES = frozenset({list, FrozenList, deque, FrozenDeque})
_MAPPINGS = frozenset({kind for kind in _MAKERS if issubclass(kind, dict)} | {MappingProxyType})
