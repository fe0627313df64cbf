"""A whole number that all processes of a pool count with."""

from __future__ import annotations

from wpc_magic.pool.shared.lock import SharedLock
from wpc_magic.pool.shared.region import STATE, find_region

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wpc_magic.pool.shared.region import Region

__all__ = ["SharedCounter"]

_BITS = 64


class SharedCounter:
    """A whole number that all processes of a pool count with.

    Parameters
    ----------
    region : Region
        Its memory.

    Attributes
    ----------
    lock : SharedLock
        Held for more than one step: ``with done.lock: ...``.

    Examples
    --------
    >>> from wpc_magic.pool import WorkerProcedureCall
    >>> done = WorkerProcedureCall().shared_counter("done")
    >>> done.add(), done.add(10), done.value
    (1, 11, 11)
    """

    __slots__ = ("_region", "_words", "lock")

    def __init__(self, region: Region) -> None:
        self._region = region
        self._words = region.words.cast("B").cast("q")[STATE : STATE + 1]
        self.lock = SharedLock(region)

    def add(self, count: int = 1) -> int:
        """Add to the number, and return what it is then: no other process comes in between.

        Raises
        ------
        OverflowError
            If it does not fit into 64 bits.
        """
        with self.lock:
            value = self._words[0] + _whole(count)
            self._set(value)
        return value

    @property
    def value(self) -> int:
        """The number."""
        return self._words[0]

    @value.setter
    def value(self, value: int) -> None:
        with self.lock:
            self._set(_whole(value))

    def _set(self, value: int) -> None:
        if not -(1 << _BITS - 1) <= value < 1 << _BITS - 1:
            raise OverflowError(f"{self._region.name} does not fit into {_BITS} bits any more")
        self._words[0] = value

    def __int__(self) -> int:
        return self.value

    __index__ = __int__

    def __repr__(self) -> str:
        return f"<shared counter {self._region.name}: {self.value}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _counter, (self._region.number, self._region.name)


def _whole(value: object) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"a counter counts with whole numbers, not with {type(value).__name__}")
    return int(value.__index__())


def _counter(number: int, name: str) -> SharedCounter:
    return SharedCounter(find_region(number, name))
