"""Counts by where calls were made."""

from __future__ import annotations

from collections import deque
from typing import Any

__all__ = ["OriginCounts"]


class OriginCounts:
    """How many calls of each of the last origins something has happened to.

    Examples
    --------
    >>> counts = OriginCounts()
    >>> counts.add({"cell": 1})
    >>> counts.add({"cell": 1})
    >>> counts.count({"cell": 1}), counts.count({"cell": 2})
    (2, 0)
    """

    KEPT = 64

    def __init__(self) -> None:
        # An origin need not be hashable; calls that are cancelled together mostly have the same one.
        self._counts: deque[tuple[Any, list[int]]] = deque(maxlen=self.KEPT)

    def add(self, origin: Any) -> None:
        """Count one call."""
        if origin is None:
            return
        for known, number in reversed(self._counts):
            if _are_equal(known, origin):
                number[0] += 1
                return
        self._counts.append((origin, [1]))

    def count(self, origin: Any) -> int:
        """Return how many calls of an origin were counted."""
        return next((number[0] for known, number in tuple(self._counts) if _are_equal(known, origin)), 0)


def _are_equal(one: Any, other: Any) -> bool:
    """Compare origins; one whose comparison fails, as that of arrays, is equal to itself only."""
    try:
        return one is other or bool(one == other)
    except Exception:
        return False
