"""Constants that a notebook has as variables, too, whose value has changed since they were registered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

__all__ = ["SimpleConstants"]

_SIMPLE = (type(None), bool, int, float, str, bytes)
_MAX_ITEMS = 1_000
_MAX_DEPTH = 4


class SimpleConstants:
    """The values of the constants that can be compared with a variable cheaply, and without side effects.

    These are numbers, texts, bytes, None, and tuples of them. Nothing is said of others.

    Examples
    --------
    >>> constants = SimpleConstants()
    >>> constants.keep("threshold", 1)
    >>> constants.keep("rows", [1])
    >>> constants.differing(["threshold", "rows"], {"threshold": 2, "rows": [2]})
    ['threshold']
    """

    def __init__(self) -> None:
        self._values: dict[str, object] = {}

    def keep(self, name: str, value: object) -> None:
        """Remember the value of a constant."""
        self._values.pop(name, None)
        if _is_simple(value):
            self._values[name] = value

    def differing(self, names: Iterable[str], namespace: Mapping[str, object]) -> list[str]:
        """Return those of the names whose variable has another value than the constant, sorted."""
        return sorted(
            name
            for name in names
            if name in self._values
            and name in namespace
            and _is_simple(namespace[name])
            and not _equal(namespace[name], self._values[name])
        )


def _is_simple(value: object, depth: int = _MAX_DEPTH) -> bool:
    if type(value) in _SIMPLE:
        return True
    if type(value) is not tuple or len(value) > _MAX_ITEMS or not depth:
        return False
    return all(_is_simple(item, depth - 1) for item in value)


def _equal(one: object, other: object) -> bool:
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(_equal, one, other))
    if isinstance(one, bytes) != isinstance(other, bytes):  # to compare these may be a BytesWarning
        return False
    return one == other or (one != one and other != other)  # two NaN
