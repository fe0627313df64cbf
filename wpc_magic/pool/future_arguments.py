"""Futures among the arguments of a call: found while these are pickled, wherever they are.

Futures are opaque here: they are defined above. Nothing is looked for, so calls without futures pay nothing.
Where a future is pickled, it raises; and then the arguments are pickled once more, while futures are
collected: each leaves a mark in the pickle.
"""

from __future__ import annotations

from _thread import _local
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .wire.value_marks import FutureInValueError, as_it_is, value_of

__all__ = ["collected_futures", "reduced_future"]


class _Collecting(_local):
    futures: dict[Any, int] | None = None


_collecting = _Collecting()


@contextmanager
def collected_futures() -> Iterator[dict[Any, int]]:
    """Collect the futures that are pickled in this thread meanwhile: each with its number, from 0."""
    before = _collecting.futures
    found = _collecting.futures = {}
    try:
        yield found
    finally:
        _collecting.futures = before


def reduced_future(future: Any) -> Any:
    """Return what a future is pickled as: a mark; or its value itself, if that has been unpickled here.

    Raises
    ------
    FutureInValueError
        If futures are not collected.
    """
    found = _collecting.futures
    if found is None:
        raise FutureInValueError(
            "the future of a call belongs to this process, and may be sent only as an argument of another "
            "call; send its result() instead",
            future,
        )
    known, value = future.known_value()
    if known and future not in found:
        return as_it_is, (value,)
    return value_of, (found.setdefault(future, len(found)), str(future.call))
