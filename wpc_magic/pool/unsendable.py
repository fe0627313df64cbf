"""Which argument of a call cannot be sent to a worker, and what in it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .procedures import read_signature
from .wire.chunk_arguments import Keywords, arguments_of_one
from .wire.unpicklable import find_unpicklable

__all__ = ["unsendable_argument", "unsendable_item"]


def unsendable_argument(signature: str, args: Iterable[Any], kwargs: Mapping[str, Any]) -> str:
    """Return what in the arguments of a call cannot be pickled; empty if that is not found.

    Parameters
    ----------
    signature : str
        The function's parameters as text; empty if they are not known.
    args, kwargs : iterable, mapping
        The arguments.

    Examples
    --------
    >>> import threading
    >>> unsendable_argument("(rows, model)", ([1], {"lock": threading.Lock()}), {})
    "model['lock'] is a _thread.lock"
    """
    for name, value in _named(signature, tuple(args), kwargs):
        found = find_unpicklable(value, name)
        if found:
            return found
    return ""


def unsendable_item(signature: str, columns: tuple[Any, ...], count: int) -> str:
    """Return the same for the first of the `count` items of a chunk that has such an argument."""
    columns = tuple(each for each in columns if not isinstance(each, Keywords))  # which can be pickled
    rows = (arguments_of_one(columns, n)[0] for n in range(count))
    return next((found for row in rows if (found := unsendable_argument(signature, row, {}))), "")


def _named(signature: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    known = read_signature(signature) if signature else None
    if known is not None:
        try:
            yield from known.bind(*args, **kwargs).arguments.items()
            return
        except TypeError:
            pass
    yield from ((f"args[{number}]", value) for number, value in enumerate(args))
    yield from kwargs.items()
