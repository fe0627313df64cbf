"""What the calls of a worker share of a constant, and what each of them gets for itself.

`freeze` makes read-only what can be. Tables of pandas cannot be, but have cheap copies: each call gets one.
All else that can be changed is shared, and the notebook says so.

How the worker uses it::

    value = freeze(decode(...))
    fresh = per_call(value)  # None for nearly all constants, and then `value` is what all calls get
    ...
    if fresh is not None:  # before each call that may read the constant
        value = fresh()
"""

from __future__ import annotations

import sys
from collections import Counter, OrderedDict, defaultdict, deque
from itertools import islice
from types import MappingProxyType

from wpc_magic.pool.worker.frozen import ATOMS, is_container, items_of, rebuilt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

__all__ = ["per_call", "shared_kinds"]


def per_call(value: Any) -> Callable[[], Any] | None:
    """Return what makes the value of a constant for one call; None if all calls can have the same.

    A DataFrame or Series is copied, wherever it is in the containers of a constant; with copy-on-write, as
    always in pandas 3, that copies no data. The containers on the way to a table are made again, all others
    are the same in each call.

    Parameters
    ----------
    value : object
        A value that `freeze` has returned.
    """
    pandas = sys.modules.get("pandas")
    tables: Any = tuple(getattr(pandas, name, ()) for name in ("DataFrame", "Series"))
    if () in tables:  # not loaded, or not fully; then no value can be one
        return None
    deep = not _copies_on_write(pandas)
    if isinstance(value, tables):
        return lambda: value.copy(deep=deep)
    if not is_container(type(value)):
        return None
    leading = _leading_to(value, tables)
    if id(value) not in leading:
        return None

    def convert(item: Any, seen: dict[int, Any]) -> Any:
        key = id(item)
        if key in seen:
            return seen[key]
        if isinstance(item, tables):
            seen[key] = new = item.copy(deep=deep)
            return new
        return rebuilt(item, seen, convert) if key in leading else item

    return lambda: convert(value, {})


def _copies_on_write(pandas: Any) -> bool:
    major = pandas.__version__.partition(".")[0]
    return (major.isdigit() and int(major) >= 3) or pandas.options.mode.copy_on_write is True


def _leading_to(value: Any, tables: tuple[type, ...]) -> set[int]:
    """Return the ids of the containers that hold a table, also in others."""
    holders: dict[int, list[int]] = {}
    waiting, found = [value], []
    while waiting:
        each = waiting.pop()
        for item in items_of(each):
            kind, key = type(item), id(item)
            if kind in ATOMS or not (is_container(kind) or isinstance(item, tables)):
                continue
            if key not in holders and is_container(kind):
                waiting.append(item)
            elif key not in holders:
                found.append(key)
            holders.setdefault(key, []).append(id(each))
    leading: set[int] = set()
    while found:
        for holder in holders.get(found.pop(), ()):
            if holder not in leading:
                leading.add(holder)
                found.append(holder)
    return leading


# -- what is shared -------------------------------------------------------------------------------------

_MAX_SEARCHED = 10_000  # objects
_MAX_KINDS = 3

_MAPPINGS = frozenset({dict, defaultdict, OrderedDict, Counter, MappingProxyType})
_OTHERS = frozenset({list, set, deque, bytearray})
# fmt: off
_IMMUTABLE = frozenset(
    {
        "NoneType", "bool", "int", "float", "complex", "str", "bytes", "range", "slice", "ellipsis",
        "NotImplementedType", "type", "function", "builtin_function_or_method", "module", "method",
        "datetime.date", "datetime.time", "datetime.timedelta", "datetime.tzinfo", "decimal.Decimal",
        "fractions.Fraction", "uuid.UUID", "pathlib.PurePath", "pathlib._local.PurePath", "re.Pattern",
        "enum.Enum", "functools.partial", "numpy.generic", "numpy.dtype", "numpy.ufunc", "pandas.Index",
        "pandas.core.indexes.base.Index", "pandas._libs.tslibs.period._Period",
        "pandas._libs.interval.IntervalMixin", "pandas._libs.missing.C_NAType",
        "pandas._libs.tslibs.offsets.BaseOffset", "pandas.api.extensions.ExtensionDtype",
        "pandas.core.dtypes.base.ExtensionDtype",
    }
)
_FROZEN_OR_COPIED = frozenset(
    {
        "numpy.ndarray", "pandas.DataFrame", "pandas.Series", "pandas.core.frame.DataFrame",
        "pandas.core.series.Series",
    }
)
# fmt: on


def shared_kinds(value: Any) -> tuple[str, ...]:
    """Return the names of the types in a constant that are neither read-only in workers nor each call's own.

    Only the first objects of a large value are looked at, and only a few names are returned.

    Parameters
    ----------
    value : object
        The constant as it was given.

    Examples
    --------
    >>> import random
    >>> shared_kinds({"seed": 1, "rooms": ["a", {"b"}]})
    ()
    >>> shared_kinds({"seed": 1, "dice": [random.Random(1)]})
    ('Random',)
    """
    found: dict[str, None] = {}
    seen: set[int] = set()
    waiting: list[tuple[Any, str]] = [(value, "")]
    left = _MAX_SEARCHED
    while waiting and left and len(found) < _MAX_KINDS:
        left -= 1
        each, owner = waiting.pop()
        kind = type(each)
        if kind in ATOMS or id(each) in seen or _is_one_of(kind, _IMMUTABLE):
            continue
        seen.add(id(each))
        if owner or not _is_one_of(kind, _FROZEN_OR_COPIED):
            owner, inside = _look_into(each, kind, owner)
            if inside is None:
                found[owner] = None
            else:
                waiting += ((item, owner) for item in islice(inside, left))
    return tuple(found)


def _look_into(value: Any, kind: type, owner: str) -> tuple[str, Iterable[Any] | None]:
    """Return what a value consists of; None if it is shared, or in an `owner` that is not frozen."""
    if kind in _MAPPINGS or kind in _OTHERS:
        writable = kind is bytearray and sys.version_info < (3, 12)  # as a buffer
        if owner or writable:
            return owner or kind.__name__, None
        return "", value.values() if kind in _MAPPINGS else () if kind is bytearray else value
    if issubclass(kind, tuple):
        plain = kind is tuple or hasattr(kind, "_fields")
        return owner or ("" if plain else kind.__name__), value
    if kind is frozenset:
        return owner, value
    parameters = getattr(kind, "__dataclass_params__", None)
    if parameters is not None and parameters.frozen:
        fields = kind.__dataclass_fields__  # type: ignore[attr-defined]
        return owner or kind.__name__, [getattr(value, name, None) for name in fields]
    return owner or kind.__name__, None


def _is_one_of(kind: type, names: frozenset[str]) -> bool:
    """Tell whether a type is one of these or a subclass, without importing them."""
    for base in kind.__mro__:
        module = base.__module__
        if (base.__qualname__ if module == "builtins" else f"{module}.{base.__qualname__}") in names:
            return True
    return False
