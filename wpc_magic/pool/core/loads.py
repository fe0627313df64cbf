"""The load of each slot that can take calls: the least loaded is found in constant time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["CoroutineLoads", "Loads"]

_Worker = TypeVar("_Worker")


class Loads(Generic[_Worker]):
    """The slots that can take calls, by load; the least loaded is found in constant time.

    Attributes
    ----------
    of : dict
        The load of each slot: its number of calls.

    Notes
    -----
    Among equals the slot that was put first is returned, which is round-robin.

    Examples
    --------
    >>> loads = Loads[int]()
    >>> loads.put(1, 0); loads.put(2, 0)
    >>> first = loads.least_loaded(1); loads.put(first, 1); first, loads.least_loaded(1)
    (1, 2)
    >>> loads.put(2, 1); loads.least_loaded(1), loads.least_loaded(2)
    (None, 1)
    """

    def __init__(self) -> None:
        self.of: dict[_Worker, int] = {}
        self._buckets: list[dict[_Worker, None]] = [{}]
        self._least = 0  # all buckets before this one are empty

    def put(self, slot: _Worker, load: int) -> None:
        """Add a slot, or update its load."""
        of = self.of
        buckets = self._buckets
        old = of.get(slot)
        if old is not None:
            del buckets[old][slot]
        of[slot] = load
        if load < self._least:
            self._least = load
        try:  # this runs twice for every call, and in nearly all of them there is such a bucket
            buckets[load][slot] = None
        except IndexError:
            buckets.extend({} for _ in range(len(buckets), load))
            buckets.append({slot: None})

    def drop(self, slot: _Worker) -> None:
        """Remove a slot, if it is present."""
        load = self.of.pop(slot, None)
        if load is not None:
            del self._buckets[load][slot]

    def least_loaded(self, limit: int) -> _Worker | None:
        """Return the slot with the least load below `limit`, or None."""
        buckets, load = self._buckets, self._least
        while load < limit:
            try:
                if buckets[load]:
                    return next(iter(buckets[load]))
            except IndexError:
                break
            self._least = load = load + 1
        return None

    def slots(self) -> list[_Worker]:
        """Return all slots."""
        return list(self.of)


class CoroutineLoads(Loads[_Worker]):
    """Loads that also follow how many calls each slot holds in all, by which coroutines are placed.

    They take the place of plain ones when the first coroutine is placed: so others cost nothing more.

    Parameters
    ----------
    before : Loads
        Those whose place they take.
    held : callable
        Given a slot, returns how many calls it holds.

    Examples
    --------
    >>> before = Loads[str]()
    >>> before.put("a", 0); before.put("b", 0)
    >>> loads = CoroutineLoads(before, {"a": 2, "b": 1}.__getitem__)
    >>> loads.least_loaded(1), loads.least_crowded(2)
    ('a', 'b')
    """

    def __init__(self, before: Loads[_Worker], held: Callable[[_Worker], int]) -> None:
        self.of, self._buckets, self._least = before.of, before._buckets, before._least
        self._held = held
        self._crowds = Loads[_Worker]()
        for slot in self.of:
            self._crowds.put(slot, held(slot))

    def put(self, slot: _Worker, load: int) -> None:
        """Add a slot, or update its loads."""
        super().put(slot, load)
        self._crowds.put(slot, self._held(slot))

    def drop(self, slot: _Worker) -> None:
        """Remove a slot, if it is present."""
        super().drop(slot)
        self._crowds.drop(slot)

    def least_crowded(self, limit: int) -> _Worker | None:
        """Return the slot that holds the fewest calls, fewer than `limit`, or None."""
        return self._crowds.least_loaded(limit)
