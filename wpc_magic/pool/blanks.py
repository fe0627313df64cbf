"""What functions of the same code have in common, and what each has of its own; see `wire.blanks`.

Each call gets the values as they are when it is made. So they may be lists, too: what a call does to them
stays there, as with a function that is pickled for each call.
"""

from __future__ import annotations

import functools
from types import CellType, FunctionType
from typing import Any, NamedTuple

from .captured import Snapshot, is_small, take_snapshot
from .wire.blanks import Blank, Filled
from .wire.codec import encode_whole

__all__ = ["BlankFunction", "has_values", "take_blank"]


class BlankFunction(NamedTuple):
    """A blank, and what it was made of.

    Attributes
    ----------
    payload : Blank
        Its pickle.
    snapshot : Snapshot
        What the blank takes along.
    places : tuple of int
        The places in the closure that are to be filled.
    """

    payload: Blank
    snapshot: Snapshot
    places: tuple[int, ...]

    def matches(self, function: Any) -> bool:
        """Return whether a function, or what it is a `partial` of, differs in its values only."""
        inner = _inner(function)
        return inner is not None and self.snapshot.matches_another(inner, self.places)

    def fill(self, function: Any, key: int) -> Filled | None:
        """Return what is sent for a function that matches; None: its values are too large for that.

        Parameters
        ----------
        function : function or functools.partial
            The function.
        key : int
            The number of the blank.
        """
        values = _values_of(function, self.places)
        return None if values is None else Filled(key, *values)


def has_values(function: Any) -> bool:
    """Return whether a function has any values of its own."""
    return type(function) is functools.partial or bool(
        function.__defaults__ or function.__closure__ or function.__kwdefaults__
    )


def take_blank(function: Any) -> BlankFunction | None:
    """Return the blank of a function, or of what it is a `partial` of; None: there is none.

    Examples
    --------
    >>> functions = [lambda x, n=n: n * x for n in range(3)]
    >>> blank = take_blank(functions[0])
    >>> [blank.matches(each) for each in functions], blank.matches(lambda x, n=1: n * x)
    ([True, True, True], False)
    >>> take_blank(len) is None
    True
    """
    inner = _inner(function)
    if inner is None:
        return None
    cells = inner.__closure__ or ()
    try:
        places = tuple([n for n, cell in enumerate(cells) if is_small(cell.cell_contents)])
        if _values_of(function, places) is None:
            return None
        closure = tuple([CellType() if n in places else cell for n, cell in enumerate(cells)])
        blank = FunctionType(inner.__code__, inner.__globals__, inner.__name__, None, closure or None)
        blank.__qualname__, blank.__module__, blank.__doc__ = (
            inner.__qualname__,
            inner.__module__,
            inner.__doc__,
        )
        blank.__dict__.update(inner.__dict__)
        blank.__annotations__ = dict(inner.__annotations__)  # from Python 3.14 on by code of the user
        snapshot = take_snapshot(blank)  # before it is pickled: what changes meanwhile does not match
        if snapshot is None or snapshot.takes(inner):
            return None
        return BlankFunction(Blank(encode_whole((blank, places))), snapshot, places)
    except Exception:  # an empty cell, or what cannot be pickled: the call says so
        return None


def _inner(function: Any) -> FunctionType | None:
    """Return the function that values are given to; None: it is called otherwise."""
    if type(function) is functools.partial:
        if function.__dict__:
            return None
        function = function.func
    return function if type(function) is FunctionType else None


def _values_of(function: Any, places: tuple[int, ...]) -> tuple[Any, ...] | None:
    """Return the values of a function, as arguments of `wire.blanks.filled`; None: they are too large."""
    own: tuple[Any, ...] = ()
    if type(function) is functools.partial:
        own = function.args, dict(function.keywords)
        function = function.func
    cells = function.__closure__
    contents = tuple([cells[place].cell_contents for place in places])
    values = function.__defaults__, function.__kwdefaults__, contents, *own
    return values if all(each is None or is_small(each) for each in values) else None
