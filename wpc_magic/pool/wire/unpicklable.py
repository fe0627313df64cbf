"""What in a value cannot be pickled, and where it is: looked for only after pickling has failed."""

from __future__ import annotations

import time
from _thread import LockType

from wpc_magic.pool.wire.value_marks import FutureInValueError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

__all__ = ["explain", "find_unpicklable"]

_MAX_VISITS = 2_000  # values that are pickled on trial
_MAX_S = 0.5
_MAX_LENGTH = 40  # characters of a key
_PLAIN = (type(None), bool, int, float, complex, str, bytes, bytearray)


def find_unpicklable(value: object, name: str) -> str:
    """Return which part of a value cannot be pickled; empty if none is found.

    Parameters
    ----------
    value : object
        What cannot be pickled.
    name : str
        What it is called in the text.

    Examples
    --------
    >>> import threading
    >>> class Model: pass
    >>> model = Model(); model.lock = threading.Lock()
    >>> find_unpicklable({"a": [1, model]}, "value")
    "value['a'][1].lock is a _thread.lock"
    """
    search = _Search()
    try:
        found = search.run(value, name)
    except Exception:  # from an object's own attributes
        return ""
    if found is None:
        return ""
    path, part = found
    kind = type(part)
    shown = kind.__qualname__ if kind.__module__ in ("builtins", "__main__") else _dotted(kind)
    return f"{path} is a{'n' * (shown[:1].lower() in 'aeiou')} {shown}"


def explain(found: str, error: Exception) -> str:
    """Return why a value cannot be pickled: which part, as `find_unpicklable` returns it, and the error.

    Examples
    --------
    >>> explain("model.lock is a _thread.lock", TypeError("cannot pickle '_thread.lock' object"))
    'model.lock is a _thread.lock'
    >>> explain("model is a Model", ValueError("not trained yet"))
    'model is a Model: not trained yet'
    >>> explain("", ValueError("not trained yet"))
    'not trained yet'
    """
    if not found:
        return str(error)
    return found if "cannot pickle" in str(error) else f"{found}: {error}"


def _dotted(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


class _Search:
    def __init__(self) -> None:
        self._visits = 0
        self._seen: dict[int, object] = {}  # kept, so that no other object gets the same id
        self._until = time.monotonic() + _MAX_S
        self._future: object = None  # of a call, found last

    def run(self, value: object, path: str) -> tuple[str, object] | None:
        """Return the innermost part that cannot be pickled, and its path."""
        if id(value) in self._seen or isinstance(value, _PLAIN) or self._can_be_pickled(value):
            return None
        self._seen[id(value)] = value
        if self._future is value:  # it says itself why it cannot be sent
            return path, value
        for step, part in _parts(value):
            found = self.run(part, path + step)
            if found is not None:
                return found
        return path, value

    def _can_be_pickled(self, value: object) -> bool:
        self._visits += 1
        if self._visits > _MAX_VISITS or time.monotonic() > self._until:
            raise TimeoutError
        from wpc_magic.pool.wire.codec import encode

        if type(value) is LockType:
            return False
        try:
            encode(value)
        except FutureInValueError as error:
            self._future = error.future
            return False
        except (Exception, SystemExit):
            return False
        return True


def _parts(value: Any) -> Iterator[tuple[str, object]]:
    """Yield what a value consists of, each with what is written behind the value for it."""
    if isinstance(value, dict):
        for key, part in value.items():
            shown = repr(key)
            yield f"[{shown if len(shown) <= _MAX_LENGTH else '...'}]", part
    elif isinstance(value, list | tuple):
        for position, part in enumerate(value):
            yield f"[{position}]", part
    elif isinstance(value, set | frozenset):
        for part in value:
            yield " (an item)", part
    closure = getattr(value, "__closure__", None)
    if closure and hasattr(value, "__code__"):
        for name, cell in zip(value.__code__.co_freevars, closure, strict=False):
            yield f" (its variable {name})", cell.cell_contents
    attributes = getattr(value, "__dict__", None)
    if isinstance(attributes, dict) and not isinstance(value, type):
        for name, part in attributes.items():
            yield f".{name}", part
