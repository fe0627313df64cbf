"""Functions of the same code that differ in little: what they share is held by workers, the rest travels.

A lambda that is made anew for each call of a burst has another default, or another value in its closure, each
time. The *blank* is that function without these values: a worker is sent it once. What travels with a call is
`Filled`: the number of the blank, and the values.
"""

from __future__ import annotations

from _thread import _local
from contextlib import contextmanager
from types import CellType, FunctionType

from wpc_magic.pool.wire.codec import decode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

__all__ = ["BLANKS", "Blank", "Filled", "blank_found", "filled"]


class Blank(bytes):
    """The pickle of a blank: the function, and the places in its closure that are to be filled."""


def _find(key: int) -> tuple[FunctionType, tuple[int, ...]]:
    raise LookupError(f"blank {key} is not here")


class Blanks(_local):
    """Where the blanks are found of what is being unpickled in this thread.

    Attributes
    ----------
    find : callable
        Given the number of a blank, returns the function, and the places in its closure.
    """

    find: Callable[[int], tuple[FunctionType, tuple[int, ...]]] = staticmethod(_find)


BLANKS = Blanks()


@contextmanager
def blank_found(key: int, payload: bytes) -> Iterator[None]:
    """Have one blank be found in this thread meanwhile.

    Parameters
    ----------
    key : int
        Its number.
    payload : bytes
        Its pickle.
    """
    before, BLANKS.find = BLANKS.find, {key: decode(payload)}.__getitem__
    try:
        yield
    finally:
        BLANKS.find = before


class Filled:
    """A function as it is sent where workers hold its blank: pickled as a call of `filled`."""

    __slots__ = ("_values",)

    def __init__(self, *values: Any) -> None:
        self._values = values

    def __reduce__(self) -> Any:
        return filled, self._values


def filled(
    key: int,
    defaults: tuple[Any, ...] | None,
    keyword_defaults: dict[str, Any] | None,
    contents: tuple[Any, ...],
    args: tuple[Any, ...] = (),
    keywords: dict[str, Any] | None = None,
) -> Any:
    """Return a function: pickle calls this.

    Parameters
    ----------
    key : int
        The number of its blank.
    defaults, keyword_defaults : object
        Those of the function.
    contents : tuple
        What is in those places of its closure that are to be filled.
    args, keywords : object
        Of a `functools.partial` of the function; `keywords` is None if it is the function itself.

    Examples
    --------
    >>> from wpc_magic.pool.wire.codec import encode_whole
    >>> with blank_found(7, encode_whole((lambda x, y: (x, y), ()))):
    ...     filled(7, (5,), None, ())(1), filled(7, None, None, (), (1,), {"y": 2})()
    ((1, 5), (1, 2))
    """
    blank, places = BLANKS.find(key)
    closure = blank.__closure__
    if places:
        assert closure is not None
        cells = list(closure)
        for place, value in zip(places, contents, strict=True):
            cells[place] = CellType(value)
        closure = tuple(cells)
    function = FunctionType(blank.__code__, blank.__globals__, blank.__name__, defaults, closure)
    function.__qualname__, function.__module__ = blank.__qualname__, blank.__module__
    function.__doc__, function.__kwdefaults__ = blank.__doc__, keyword_defaults
    if blank.__dict__:
        function.__dict__.update(blank.__dict__)
    if blank.__annotations__:
        function.__annotations__ = dict(blank.__annotations__)
    if keywords is None:
        return function
    from functools import partial

    return partial(function, *args, **keywords)
