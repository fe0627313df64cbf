"""Times in which the pool itself did not run: it was stopped (Ctrl-Z), frozen, or its machine was.

They count for nobody: the timers are moved by them, and whoever measures a time subtracts them.
"""

from __future__ import annotations

from collections import deque

__all__ = ["PULSE_S", "Pauses"]

PULSE_S = 0.25
"""How often the pool looks at the clock while calls with timeouts are pending: it misses this of a pause."""

_KEPT = 16


class Pauses:
    """The latest pauses.

    Examples
    --------
    >>> pauses = Pauses()
    >>> pauses.add(10.0, 13.0); pauses.add(20.0, 21.0)
    >>> pauses.since(5.0), pauses.since(12.0), pauses.since(30.0)
    (4.0, 2.0, 0.0)
    """

    def __init__(self) -> None:
        self._pauses: deque[tuple[float, float]] = deque(maxlen=_KEPT)

    def add(self, began: float, ended: float) -> None:
        """Record a pause, given its times in seconds."""
        self._pauses.append((began, ended))

    def since(self, then: float) -> float:
        """Return how long the pool has not run since a time, in seconds."""
        return sum((ended - max(began, then) for began, ended in self._pauses if ended > then), 0.0)
