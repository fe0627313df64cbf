"""Timers: a heap of callbacks by due time."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Protocol

__all__ = ["Endable", "Timers"]

_MIN_SWEEP = 1000  # timers


class Endable(Protocol):
    """What a timer is for."""

    @property
    def ended(self) -> bool:
        """Whether it is over: then the timer has nothing to do."""


class Timers:
    """Callbacks by the time at which they are due.

    Attributes
    ----------
    due : list
        A heap of (time, number, callback, what it is for or None): always the same list.

    Timers are not cancelled: a callback checks whether it still applies. But those of what has ended are
    removed once there are many, because a pool may run thousands of calls per second, each with a timeout of
    an hour.

    Examples
    --------
    >>> timers, seen = Timers(), []
    >>> timers.call_at(2.0, seen.append); timers.call_at(1.0, seen.append)
    >>> timers.run(1.5); seen, timers.next_due
    ([1.5], 2.0)
    """

    def __init__(self) -> None:
        self.due: list[tuple[float, int, Callable[[float], object], Endable | None]] = []
        self._count = 0
        self._sweep_above = _MIN_SWEEP

    def call_at(self, due: float, callback: Callable[[float], object], what: Endable | None = None) -> None:
        """Schedule `callback(now)` at about `due`, in seconds.

        Parameters
        ----------
        due : float
            The due time.
        callback : callable
            Called with the current time.
        what : Endable, optional
            A call, say. Once this has ended, the callback may be skipped.
        """
        self._count += 1
        heapq.heappush(self.due, (due, self._count, callback, what))
        if len(self.due) > self._sweep_above:
            self._sweep()
            # Amortized: a sweep costs no more than the additions since the last one.
            self._sweep_above = max(_MIN_SWEEP, 2 * len(self.due))

    def drop_ended(self, pending: int) -> None:
        """Remove the timers of ended calls if most are, given how many calls have not ended."""
        if len(self.due) > _MIN_SWEEP + 4 * pending:  # a call has two timers at most
            self._sweep()

    def delay(self, seconds: float) -> None:
        """Move all timers."""
        # In the same order, so it is still a heap.
        self.due[:] = [(due + seconds, number, callback, call) for due, number, callback, call in self.due]

    def _sweep(self) -> None:
        self.due[:] = [timer for timer in self.due if timer[3] is None or not timer[3].ended]
        heapq.heapify(self.due)

    @property
    def next_due(self) -> float | None:
        """The time of the next callback; None: there is none."""
        return self.due[0][0] if self.due else None

    def run(self, now: float) -> None:
        """Run the callbacks that are due by `now`; those added meanwhile run next time."""
        due = []
        while self.due and self.due[0][0] <= now:
            due.append(heapq.heappop(self.due)[2])
        for callback in due:
            callback(now)

    def clear(self) -> None:
        """Drop all timers."""
        self.due.clear()
