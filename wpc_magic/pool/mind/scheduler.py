"""Which worker takes the next call, and how many calls may be sent ahead to it."""

from __future__ import annotations

from typing import Generic, TypeVar

__all__ = ["ASYNC_DEPTH", "Loads", "depth"]

ASYNC_DEPTH = 256
"""How many coroutines may interleave on one worker."""

_AHEAD_S = 0.002  # what is sent ahead should keep a worker busy for about this long
_MOST = 64


def depth(mean_s: float | None, is_async: bool) -> int:
    """Return how many calls of a function a worker may hold at once.

    Quick functions are sent ahead, so that the pipe never runs dry; slow and unknown ones one at a time, so
    that none waits behind another while a worker idles.

    Parameters
    ----------
    mean_s : float or None
        What one call takes, in seconds; None: not known.
    is_async : bool
        Whether its calls interleave.

    Examples
    --------
    >>> depth(None, False), depth(0.00001, False), depth(0.0005, False), depth(1.0, False)
    (1, 64, 4, 1)
    """
    if is_async:
        return ASYNC_DEPTH
    if mean_s is None:
        return 1
    return max(1, int(_AHEAD_S / max(mean_s, _AHEAD_S / _MOST)))


_Worker = TypeVar("_Worker")


class Loads(Generic[_Worker]):
    """The workers that can take calls, by how many they hold; the least loaded in constant time.

    Attributes
    ----------
    of : dict
        The load of each.

    Notes
    -----
    Among equals the one that has waited longest comes first, which is round-robin.

    Examples
    --------
    >>> loads = Loads[int]()
    >>> loads.put(1, 0); loads.put(2, 0)
    >>> first = loads.lightest(1); loads.put(first, 1); first, loads.lightest(1)
    (1, 2)
    >>> loads.put(2, 1); loads.lightest(1), loads.lightest(2)
    (None, 1)
    """

    def __init__(self) -> None:
        self.of: dict[_Worker, int] = {}
        self._buckets: list[dict[_Worker, None]] = [{}]

    def put(self, slot: _Worker, load: int) -> None:
        """Enter a slot, or change its load."""
        old = self.of.get(slot)
        if old is not None:
            del self._buckets[old][slot]
        while load >= len(self._buckets):
            self._buckets.append({})
        self.of[slot] = load
        self._buckets[load][slot] = None

    def drop(self, slot: _Worker) -> None:
        """Take a slot out; nothing happens if it is not in."""
        load = self.of.pop(slot, None)
        if load is not None:
            del self._buckets[load][slot]

    def lightest(self, limit: int) -> _Worker | None:
        """Return the slot with the least load below `limit`, or None."""
        for bucket in self._buckets[:limit]:
            if bucket:
                return next(iter(bucket))
        return None

    def slots(self) -> list[_Worker]:
        """Return the slots that are in."""
        return list(self.of)
