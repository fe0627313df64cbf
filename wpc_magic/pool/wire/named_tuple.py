"""A `NamedTuple` that is cheap to define: that of `typing` compiles code, and `typing` is slow to load.

A worker defines every message at start-up, which must be fast. Type checkers see the real `NamedTuple`.
"""

from __future__ import annotations

from _collections import _tuplegetter  # type: ignore[import-not-found]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Self

__all__ = ["NamedTuple"]


class NamedTuple(tuple):  # type: ignore[type-arg]
    """A tuple whose items are named by the annotations of the class. Default values are not supported.

    Examples
    --------
    >>> class Point(NamedTuple):
    ...     x: int
    ...     y: int
    >>> Point(1, y=2)._replace(x=5)
    Point(x=5, y=2)
    """

    __slots__ = ()
    _fields: tuple[str, ...] = ()

    def __init_subclass__(cls) -> None:
        cls._fields = tuple(cls.__annotations__)
        cls.__match_args__ = cls._fields  # type: ignore[misc, attr-defined]
        for n, name in enumerate(cls._fields):
            setattr(cls, name, _tuplegetter(n, ""))

    def __new__(cls, *args: Any, **named: Any) -> Self:
        """Create a tuple from all its items, given by position or by name."""
        if named:
            args += tuple(named.pop(name) for name in cls._fields[len(args) :] if name in named)
        if named or len(args) != len(cls._fields):
            raise TypeError(f"{cls.__name__} takes {', '.join(cls._fields)}")
        return tuple.__new__(cls, args)

    def __getnewargs__(self) -> tuple[Any, ...]:
        """Return the arguments from which `copy` and `pickle` recreate it."""
        return tuple(self)

    def __repr__(self) -> str:
        items = ", ".join(f"{name}={item!r}" for name, item in zip(self._fields, self, strict=True))
        return f"{type(self).__name__}({items})"

    def _replace(self, **changes: Any) -> Self:
        return type(self)(**{**dict(zip(self._fields, self, strict=True)), **changes})
