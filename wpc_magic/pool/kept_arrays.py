"""Arrays that lie in shared memory for as long as somebody sends them with one call after another."""

from __future__ import annotations

import operator
import sys
from collections.abc import Iterable
from pickle import PickleBuffer
from typing import Any

from .driver.driver import Driver
from .wire.blocks import Placed

__all__ = ["KeptArrays"]

_MIN_SIZE = 1 << 20  # bytes: a smaller one is compared as quickly
_CONTAINERS = {list, tuple, dict}
# Containers that are longer, or deeper, are data rather than arguments: to look through them would take long.
_MAX_LENGTH = 100
_MAX_DEPTH = 3


class KeptArrays:
    """Puts arrays of NumPy in shared memory once, however many calls they are sent with.

    They are not compared with what lies there for each call, so they must not change until `release`.

    Parameters
    ----------
    driver : Driver
        Does the I/O of the pool.
    """

    def __init__(self, driver: Driver) -> None:
        self._store = driver.memory.store
        self._kept: dict[int, tuple[object, Placed | None]] = {}  # by id: the array, and where it lies

    def may_have_arrays(self, values: Iterable[object]) -> bool:
        """Return whether any of the values may be, or have, an array, so that it is to be added."""
        numpy: Any = sys.modules.get("numpy")
        if numpy is None:
            return False
        return any(kind in _CONTAINERS or issubclass(kind, numpy.ndarray) for kind in set(map(type, values)))

    def add(self, value: Any) -> Any:
        """Keep an array, or those in a list, tuple or dict, if they are large; return what is to be sent.

        That is the value itself, unless it is, or has, a mapped file: as an array it goes through shared
        memory.
        """
        numpy: Any = sys.modules.get("numpy")
        return value if numpy is None else self._add(numpy, value, 0)

    def _add(self, numpy: Any, value: Any, depth: int) -> Any:
        kind = type(value)
        if kind in _CONTAINERS and depth < _MAX_DEPTH and len(value) <= _MAX_LENGTH:
            return self._add_all(numpy, value, depth + 1)
        if not isinstance(value, numpy.ndarray):
            return value
        if id(value) not in self._kept:
            plain = numpy.asarray(value)
            if plain.nbytes >= _MIN_SIZE and not plain.dtype.hasobject and plain.flags.forc:
                self._kept[id(value)] = value, self._store.keep(PickleBuffer(plain).raw())
        return numpy.asarray(value) if isinstance(value, numpy.memmap) else value

    def _add_all(self, numpy: Any, values: Any, depth: int) -> Any:
        inner = values.values() if type(values) is dict else values
        sent = [self._add(numpy, each, depth) for each in inner]
        if all(map(operator.is_, sent, inner)):
            return values  # the same one, of which others may know
        return dict(zip(values, sent, strict=True)) if type(values) is dict else type(values)(sent)

    def release(self) -> None:
        """Keep none of them any longer."""
        while self._kept:
            _, (_, placed) = self._kept.popitem()
            if placed is not None:
                self._store.keep_no_longer(placed)
