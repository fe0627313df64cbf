"""What a function takes along when it is pickled by value, and whether that is still the same.

cloudpickle takes 40 to 350 µs for a function that cannot be imported, at each call. So its pickle is kept
as long as all that went into it is the same: the code, the defaults, the values of its closure and of the
globals that it names, and the same of all functions among these. "The same" is the same object. That is
enough where objects cannot change by themselves: numbers, texts, modules, what can be imported, and tuples of
such. A function that takes along anything else (a list, an array, a class of the notebook), or that assigns
to its globals or its closure, has no snapshot: it is pickled at each call, and unpickled for each call.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import functools
import logging
import operator
import pathlib
import re
import sys
import weakref
from collections.abc import Collection, Mapping
from enum import Enum
from types import (
    BuiltinFunctionType,
    CodeType,
    EllipsisType,
    FunctionType,
    MethodDescriptorType,
    ModuleType,
    NotImplementedType,
    WrapperDescriptorType,
)
from typing import Any, NamedTuple

__all__ = ["Snapshot", "code_of", "is_small", "take_snapshot"]

_ATOMS = frozenset(
    {
        type(None),
        bool,
        int,
        float,
        complex,
        str,
        bytes,
        range,
        EllipsisType,
        NotImplementedType,
        datetime.date,
        datetime.timedelta,
        decimal.Decimal,
        pathlib.PurePosixPath,
        pathlib.PosixPath,
        re.Pattern,
        MethodDescriptorType,
        WrapperDescriptorType,
    }
)
"""Types of which nothing can change, and which contain no other objects."""

_BASE = ("__name__", "__package__", "__file__")
"""Globals that every pickled function takes along, besides those that it names."""

_CONTAINERS = frozenset({tuple, list, dict, set, frozenset})
_MAX_SMALL = 512  # bytes
_MAX_ITEMS = 16

_ABSENT: Any = object()
_CACHED = type(functools.lru_cache(len))
_WRITES = frozenset({"STORE_GLOBAL", "DELETE_GLOBAL"})
_WRITES_FREE = frozenset({"STORE_DEREF", "DELETE_DEREF"})
_WRITES_ATTRIBUTE = frozenset({"STORE_ATTR", "DELETE_ATTR"})
_NAMES_GLOBAL = frozenset(
    {"LOAD_GLOBAL", "STORE_GLOBAL", "DELETE_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"}
)
_CHANGE_GLOBALS = frozenset({"globals", "exec", "eval"})
_CHANGE_ATTRIBUTES = frozenset({"setattr", "delattr", "vars", "__dict__", "__setattr__"})
"""Names by which code may change its globals, or the attributes of a function."""


class Snapshot:
    """What a function took along when it was pickled.

    Parameters
    ----------
    function : function or functools.partial
        The function.
    parts : list
        What it and each function that it takes along refer to.
    """

    __slots__ = ("_by_value", "_first", "_keywords", "_modules", "_rest")

    def __init__(self, function: Any, parts: list[tuple[FunctionType, _Part]]) -> None:
        # Not the functions themselves: one that takes itself along would never be freed.
        self._first = parts[0][1]
        self._rest = tuple([(weakref.ref(each), part) for each, part in parts[1:]])
        self._keywords = function.keywords.copy() if type(function) is functools.partial else None
        self._by_value = _chosen_by_value()
        self._modules = _loaded() if any(part.has_packages for _, part in parts) else None

    def matches(self, function: Any) -> bool:
        """Return whether a function, which this is the snapshot of, would be pickled in the same way now."""
        if self._keywords is not None:
            if not _is_same_mapping(self._keywords, function.keywords) or function.__dict__:
                return False
            function = function.func
        return self._first.matches(function) and self._rest_matches()

    def matches_another(self, function: FunctionType, places: Collection[int] | None = None) -> bool:
        """Return whether another function would be pickled in the same way.

        Parameters
        ----------
        function : function
            The other function.
        places : collection of int, optional
            Where its closure may have other contents; and then it may have other defaults, too.
        """
        return self._keywords is None and self._first.matches(function, places) and self._rest_matches()

    def takes(self, function: Any) -> bool:
        """Return whether a function is one of those that are taken along."""
        return any(ref() is function for ref, _ in self._rest)

    def _rest_matches(self) -> bool:
        """Return whether all is as it was that does not concern the function itself."""
        if self._modules is not None and self._modules != _loaded():
            return False
        for ref, part in self._rest:
            other = ref()
            if other is None or not part.matches(other):
                return False
        return self._by_value == _chosen_by_value()


def take_snapshot(function: Any) -> Snapshot | None:
    """Return the snapshot of a function; None: its pickle must not be kept.

    Parameters
    ----------
    function : callable
        What is to be called.

    Examples
    --------
    >>> factor = 2
    >>> double = lambda x: x * factor
    >>> snapshot = take_snapshot(double)
    >>> snapshot.matches(double)
    True
    >>> factor = 3
    >>> snapshot.matches(double)
    False
    >>> values = []
    >>> take_snapshot(lambda: values) is None
    True
    """
    first = function
    if type(function) is functools.partial:
        first = function.func
        values = (*function.args, *function.keywords.values())
        if function.__dict__ or not all(map(_is_fixed, values)):
            return None
    if type(first) is not FunctionType or _is_importable(first):  # which is pickled by its name, in no time
        return None
    found: dict[int, FunctionType] = {id(first): first}
    parts: list[tuple[FunctionType, _Part]] = []
    queue = [first]
    takes_functions = False
    for each in queue:  # it grows during the iteration
        taken: list[FunctionType] = []
        part = _part_of(each, taken)
        if part is None:
            return None
        parts.append((each, part))
        takes_functions = takes_functions or bool(taken)
        for other in taken:
            if id(other) not in found:
                found[id(other)] = other
                queue.append(other)
    if takes_functions and any(_use_of(part.code).writes_attributes for _, part in parts):
        return None  # it may count its calls in an attribute of one of them
    return Snapshot(function, parts)


@dataclasses.dataclass(frozen=True, slots=True)
class _Part:
    """What one function refers to; a function among that is remembered by a weak reference."""

    code: CodeType
    names: tuple[str, str, str]
    doc: str | None
    defaults: tuple[Any, ...] | None
    keyword_defaults: dict[str, Any]
    attributes: dict[str, Any]
    annotations: dict[str, Any]
    globals: tuple[tuple[str, Any], ...]
    functions: tuple[tuple[str, weakref.ref[FunctionType]], ...]  # among the globals
    closure: tuple[Any, ...]
    has_packages: bool

    def matches(self, function: FunctionType, places: Collection[int] | None = None) -> bool:
        """Return whether a function refers to the same; see `Snapshot.matches_another`."""
        if (
            function.__code__ is not self.code
            or (places is None and function.__defaults__ is not self.defaults)
            or function.__doc__ is not self.doc
            or (function.__name__, function.__qualname__, function.__module__) != self.names
        ):
            return False
        there = function.__globals__
        for name, value in self.globals:
            if there.get(name, _ABSENT) is not value:
                return False
        for name, ref in self.functions:  # that they are alive is checked by the snapshot
            if there.get(name, _ABSENT) is not ref():
                return False
        if self.closure:
            cells = function.__closure__ or ()
            for place, (cell, value) in enumerate(zip(cells, self.closure, strict=True)):
                if not _is_same(value, _contents(cell)) and (not places or place not in places):
                    return False
        return (
            (places is not None or _is_same_mapping(self.keyword_defaults, function.__kwdefaults__))
            and _is_same_mapping(self.attributes, vars(function))
            and _is_same_mapping(self.annotations, function.__annotations__)
        )


def _part_of(function: FunctionType, taken: list[FunctionType]) -> _Part | None:
    """Return what a function refers to; None: some of it may change.

    The functions that are taken along with it are added to `taken`.
    """
    code, there = function.__code__, function.__globals__
    use = _use_of(code)
    try:
        annotations = dict(function.__annotations__)  # which no call reads, so they may be anything
    except Exception:  # from Python 3.14 on they are made now, by code of the user
        return None
    named = {name: there.get(name, _ABSENT) for name in (*use.names, *_BASE)}
    cells = [_contents(cell) for cell in function.__closure__ or ()]
    keyword_defaults, attributes = dict(function.__kwdefaults__ or ()), dict(vars(function))
    defaults = function.__defaults__
    values = [*named.values(), *cells, *keyword_defaults.values(), *attributes.values()]
    others = [value for value in values if value is not _ABSENT and not _is_fixed(value)]
    if (
        use.writes
        or not all(type(value) is FunctionType for value in others)
        or not all(map(_is_fixed, defaults or ()))
    ):
        return None
    taken += others
    functions = {n: value for n, value in named.items() if any(value is other for other in others)}
    return _Part(
        code,
        (function.__name__, function.__qualname__, function.__module__),
        function.__doc__,
        defaults,
        {name: _referred(value, others) for name, value in keyword_defaults.items()},
        {name: _referred(value, others) for name, value in attributes.items()},
        annotations,
        tuple([(name, value) for name, value in named.items() if name not in functions]),
        tuple([(name, weakref.ref(value)) for name, value in functions.items()]),
        tuple([_referred(value, others) for value in cells]),
        any(type(value) is ModuleType and bool(value.__package__) for value in (*named.values(), *cells)),
    )


class _Function:
    """Stands for a function where it is remembered."""

    __slots__ = ("ref",)

    def __init__(self, function: FunctionType) -> None:
        self.ref = weakref.ref(function)


def _referred(value: Any, functions: list[Any]) -> Any:
    """Return what a value is remembered by."""
    return _Function(value) if any(value is each for each in functions) else value


def _is_same(remembered: Any, value: Any) -> bool:
    return (remembered.ref() if type(remembered) is _Function else remembered) is value


def _is_same_mapping(remembered: Mapping[str, Any], now: Mapping[str, Any] | None) -> bool:
    if not remembered or not now:
        return not remembered and not now
    return len(remembered) == len(now) and all(
        _is_same(value, now.get(name, _ABSENT)) for name, value in remembered.items()
    )


def _contents(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # it is empty
        return _ABSENT


def _loaded() -> object:
    """Return what changes when a module is loaded: with a package, cloudpickle sends those in it."""
    try:
        return len(sys.modules), next(reversed(sys.modules))
    except RuntimeError:  # another thread imports something
        return object()


def _is_fixed(value: Any) -> bool:
    """Return whether an object cannot change, or is pickled by its name only."""
    kind = type(value)
    if kind in _ATOMS:
        return True
    if kind is datetime.datetime or kind is datetime.time:
        return value.tzinfo is None or type(value.tzinfo).__module__ in ("datetime", "zoneinfo")
    if kind is tuple or kind is frozenset:
        return all(map(_is_fixed, value))
    if kind is ModuleType:
        name = str(value.__name__)
        return not _is_by_value(name) and sys.modules.get(name) is value
    if kind is FunctionType or kind is _CACHED:
        return _is_importable(value)
    if kind is BuiltinFunctionType:
        return value.__self__ is None or isinstance(value.__self__, ModuleType)
    if issubclass(kind, type):
        return _is_importable(value)
    if issubclass(kind, logging.Logger):
        return value is logging.root or logging.Logger.manager.loggerDict.get(value.name) is value
    if issubclass(kind, Enum):
        return _is_importable(kind)
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return False
    if isinstance(value, numpy.generic):
        return kind.__module__ == "numpy" and kind is not numpy.void
    return kind is getattr(numpy, "ufunc", None)


def is_small(value: Any, depth: int = 2) -> bool:
    """Return whether an object may travel with each call: a few numbers or short texts, or what has a name.

    Examples
    --------
    >>> is_small((1, "a", [2.5, len])), is_small("x" * 2000), is_small([[[[]]]]), is_small(lambda: 1)
    (True, False, False, False)
    """
    kind = type(value)
    if kind in _CONTAINERS:
        if len(value) > _MAX_ITEMS or not depth:
            return False
        copied = value.copy() if kind is dict or kind is set else value  # another thread may change it
        items = (*copied, *copied.values()) if kind is dict else copied
        return all(is_small(each, depth - 1) for each in items)
    if kind in _ATOMS:
        return sys.getsizeof(value) <= _MAX_SMALL
    return kind is not ModuleType and _is_fixed(value)


def _is_importable(value: Any) -> bool:
    """Return whether a function or class is found in its module by its name, and so is pickled by that."""
    module = getattr(value, "__module__", None)
    if not isinstance(module, str) or module == "__main__" or module not in sys.modules:
        return False
    if _is_by_value(module):
        return False
    try:
        return operator.attrgetter(value.__qualname__)(sys.modules[module]) is value
    except Exception:  # such as a name with "<locals>" in it
        return False


def _is_by_value(module: str) -> bool:
    """Return whether what is defined in a module is taken along, although it can be imported."""
    chosen = _chosen_by_value()
    return module == "__main__" or (
        bool(chosen) and any(module == each or module.startswith(f"{each}.") for each in chosen)
    )


def _chosen_by_value() -> Collection[str]:
    """Return the modules that `cloudpickle.register_pickle_by_value` was given."""
    cloudpickle: Any = sys.modules.get("cloudpickle")
    return () if cloudpickle is None else cloudpickle.list_registry_pickle_by_value()


class _Use(NamedTuple):
    """What a code, with those in it, does with what is around it."""

    names: tuple[str, ...]  # the globals that it names
    writes: bool  # to its globals or its closure
    writes_attributes: bool


_uses: weakref.WeakKeyDictionary[CodeType, _Use] = weakref.WeakKeyDictionary()


def _use_of(code: CodeType) -> _Use:
    use = _uses.get(code)
    if use is None:
        use = _uses[code] = _find_use(code, frozenset(code.co_freevars))
    return use


def _find_use(code: CodeType, free: frozenset[str]) -> _Use:
    import dis

    names: dict[str, None] = {}
    writes = not _CHANGE_GLOBALS.isdisjoint(code.co_names)
    writes_attributes = not _CHANGE_ATTRIBUTES.isdisjoint(code.co_names)
    for each in dis.get_instructions(code):
        operation = each.opname
        if operation in _NAMES_GLOBAL:
            names[each.argval] = None
        writes = writes or operation in _WRITES or (operation in _WRITES_FREE and each.argval in free)
        writes_attributes = writes_attributes or operation in _WRITES_ATTRIBUTE
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            use = _find_use(inner, free)
            names.update(dict.fromkeys(use.names))
            writes, writes_attributes = writes or use.writes, writes_attributes or use.writes_attributes
    return _Use(tuple(names), writes, writes_attributes)


def code_of(function: Any) -> Any:
    """Return what a callable has in common with others that do the same: its code, else its class.

    Examples
    --------
    >>> def work(n): return n
    >>> code_of(functools.partial(work, 1)) is work.__code__
    True
    >>> code_of(len) is len
    True
    """
    while type(function) is functools.partial:
        function = function.func
    try:
        function = getattr(function, "__func__", function)
        code = getattr(function, "__code__", None)
    except Exception:  # from its own code
        code = None
    if isinstance(code, CodeType):
        return code
    return function if isinstance(function, BuiltinFunctionType | type) else type(function)
