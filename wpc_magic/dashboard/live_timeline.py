"""The timeline while it is looked at: all of it at first, then what has been added."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from wpc_magic.pool.core.history import unpacked

from .timeline import MAX_BARS, WINDOW_S, Timeline, timeline_of

__all__ = ["LiveTimeline", "take_timeline"]

_MOST_CALLS = 250
"""How many calls are looked at each time; of more, every second, third, ... stands for as many."""

_FINE_LANES = 4
"""How many lanes may be busy until bars become coarser."""


def take_timeline(
    pool: Any,
    since: float | None = None,
    until: float | None = None,
    most: int = MAX_BARS,
    clock: Callable[[], float] = time.time,
    monotonic: Callable[[], float] = time.monotonic,
) -> Timeline:
    """Return the timeline of a pool, of all calls that it keeps in an interval.

    Parameters
    ----------
    pool : WorkerProcedureCall
        The pool.
    since, until : float, optional
        The interval, in seconds of the epoch; by default, the last `WINDOW_S` seconds.
    most : int
        How many bars at most.
    clock, monotonic : callable
        Return the time, of the epoch and of the pool's clock, in seconds.
    """
    offset = clock() - monotonic()
    begin = -math.inf if since is None else since - offset
    recent = pool.recent_calls(after=begin)
    now = monotonic()
    if since is None:
        begin = now - WINDOW_S
    end = now if until is None else until - offset
    return _timeline(recent, begin, end, offset, most)


def _timeline(recent: Any, begin: float, end: float, offset: float, most: int = MAX_BARS) -> Timeline:
    rows = [unpacked(row) for row in recent.rows]
    return timeline_of(rows, recent.processes, begin, end, offset=offset, most=most, weight=recent.weight)


class LiveTimeline:
    """Reads a timeline again and again.

    Parameters
    ----------
    clock, monotonic : callable
        Return the time, of the epoch and of the pool's clock, in seconds.
    """

    def __init__(
        self, clock: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock, self._monotonic = clock, monotonic
        self._after: float | None = None  # when the last call that was read has ended
        self._lanes: Any = None

    def forget(self) -> None:
        """Return all of it the next time."""
        self._after = None

    def read(self, pool: Any) -> dict[str, Any]:
        """Return what is new, if something is.

        ``{"timeline": ...}`` replaces what a page has, ``{"timeline_more": ...}`` is added to it: its `base`
        and `functions` are its own; its `lanes` are all that there are, and left out if these are the same.
        """
        offset = self._clock() - self._monotonic()
        is_first = self._after is None
        recent = pool.recent_calls(
            after=-math.inf if self._after is None else self._after, most=None if is_first else _MOST_CALLS
        )
        now = self._monotonic()  # after whatever has ended among these
        self._after = recent.until
        if is_first:
            whole = _timeline(recent, now - WINDOW_S, now, offset)
            self._lanes = whole["lanes"]
            return {"timeline": whole}
        rows = [unpacked(row) for row in recent.rows]
        begin = min((row.ended - max(row.ran_ns, 0) / 1e9 for row in rows), default=now)
        # The more lanes are busy, the coarser: what is sent each second is about as large. The whole
        # timeline, which has no more bars, is coarser still.
        busy = len({row.incarnation for row in rows})
        resolution = WINDOW_S / MAX_BARS * max(1.0, busy / _FINE_LANES)
        more = timeline_of(
            rows, recent.processes, begin, now, offset=offset, resolution=resolution, weight=recent.weight
        )
        # Those that ran before the first of these calls, too.
        lanes = timeline_of([], recent.processes, now - WINDOW_S, now, offset=offset)["lanes"]
        if not rows and lanes == self._lanes:
            return {}
        added = {key: value for key, value in more.items() if key != "lanes"}
        if lanes != self._lanes:
            added["lanes"] = self._lanes = lanes
        return {"timeline_more": added}
