"""What is to happen later: a heap of moments."""

from __future__ import annotations

import heapq
from collections.abc import Callable

from .calls import Call

__all__ = ["Timers"]


_MANY = 1000


class Timers:
    """Actions by the moment at which they are due.

    Attributes
    ----------
    due : list
        A heap of (moment, number, action, call or None).

    An action that is not wanted any more is not taken out: it looks for itself whether it still applies. But
    those of calls that have ended are swept out when there are many: a pool may make thousands of calls in a
    second, and each may have an hour.

    Examples
    --------
    >>> timers, seen = Timers(), []
    >>> timers.at(2.0, seen.append); timers.at(1.0, seen.append)
    >>> timers.run(1.5); seen, timers.next_due
    ([1.5], 2.0)
    """

    def __init__(self) -> None:
        self.due: list[tuple[float, int, Callable[[float], object], Call | None]] = []
        self._count = 0
        self._many = _MANY

    def at(self, due: float, action: Callable[[float], object], call: Call | None = None) -> None:
        """Have `action` called with the time at about `due`, in seconds.

        Parameters
        ----------
        due : float
            When.
        action : callable
            What.
        call : Call, optional
            Once this has ended, the action may be left out.
        """
        self._count += 1
        heapq.heappush(self.due, (due, self._count, action, call))
        if len(self.due) > self._many:
            self.due = [one for one in self.due if one[3] is None or not one[3].ended]
            heapq.heapify(self.due)
            self._many = max(_MANY, 2 * len(self.due))  # so that a sweep is paid for by what was added

    @property
    def next_due(self) -> float | None:
        """The moment of the next action; None: there is none."""
        return self.due[0][0] if self.due else None

    def run(self, now: float) -> None:
        """Call what is due by `now`; what an action adds is for the next time."""
        due = []
        while self.due and self.due[0][0] <= now:
            due.append(heapq.heappop(self.due)[2])
        for action in due:
            action(now)

    def clear(self) -> None:
        """Forget everything."""
        self.due.clear()
