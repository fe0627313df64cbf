"""How functions have run, by the history of calls: which workers ran them and when, and what was slow; pure.

Calls of less than about 1 ms are left out, as they are wherever something is measured.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping

from .history import Row, UnpackedRow, unpacked
from .stats import MEASURED_NS, FunctionStats

__all__ = ["FunctionRuns", "Periods", "runs_of"]

_MAX_SLOWEST = 5
_MAX_PERIODS = 32


@dataclasses.dataclass(slots=True)
class FunctionRuns:
    """How a version of a function has run, in the calls that the history keeps.

    Attributes
    ----------
    calls : int
        How many calls were measured.
    workers : dict
        By worker: how long they have run there, in seconds.
    periods : Periods
        When any of them ran.
    sent_bytes : int
        The size of their arguments.
    slowest : list of (UnpackedRow, int)
        The slowest, the slowest first, each with its worker; 0: it is not known any more.
    """

    calls: int = 0
    workers: dict[int, float] = dataclasses.field(default_factory=dict)
    periods: Periods = dataclasses.field(default_factory=lambda: Periods())
    sent_bytes: int = 0
    slowest: list[tuple[UnpackedRow, int]] = dataclasses.field(default_factory=list)

    def add(self, row: UnpackedRow, worker_id: int | None, nbytes: int) -> None:
        """Add a call; they come in the order of their ends."""
        ran_s = row.ran_ns / 1e9
        self.calls += 1
        self.sent_bytes += nbytes
        self.periods.add(row.ended - ran_s, row.ended)
        if worker_id is not None:
            self.workers[worker_id] = self.workers.get(worker_id, 0.0) + ran_s
        slowest = self.slowest
        if len(slowest) < _MAX_SLOWEST or row.ran_ns > slowest[-1][0].ran_ns:
            slowest.append((row, worker_id or 0))
            slowest.sort(key=lambda each: -each[0].ran_ns)
            del slowest[_MAX_SLOWEST:]


def runs_of(
    rows: Iterable[Row],
    workers: Mapping[int, int],
    sizes: Callable[[int], tuple[int | None, int | None]],
) -> dict[FunctionStats, FunctionRuns]:
    """Return how each function has run.

    Parameters
    ----------
    rows : iterable of tuple
        The calls, by their ends.
    workers : mapping
        By incarnation: the slot of the process.
    sizes : callable
        See `CallHistory.sizes`.

    Examples
    --------
    >>> stats = FunctionStats("f", 1)
    >>> rows = [(n, stats, 1, 0.0, ran_s * 1_000_000_000, 10.0 + n) for n, ran_s in enumerate([2, 0, 5])]
    >>> seen = runs_of(rows, {1: 2}, lambda number: (10, None))[stats]
    >>> seen.calls, seen.workers, seen.periods.total_s, [row.number for row, _ in seen.slowest]
    (2, {2: 7.0}, 5.0, [2, 0])
    """
    found: dict[FunctionStats, FunctionRuns] = {}
    for row in rows:
        if row[4] < MEASURED_NS:
            continue
        seen = unpacked(row)
        runs = found.get(seen.function)
        if runs is None:
            runs = found[seen.function] = FunctionRuns()
        runs.add(seen, workers.get(seen.incarnation), sizes(seen.number)[0] or 0)
    return found


class Periods:
    """How much time intervals cover together, which are added in the order of their ends.

    Examples
    --------
    >>> periods = Periods()
    >>> for interval in [(0.0, 1.0), (2.0, 3.0), (2.5, 4.0), (0.5, 5.0)]:
    ...     periods.add(*interval)
    >>> periods.total_s
    5.0
    """

    def __init__(self) -> None:
        self._folded_s = 0.0
        self._latest: list[tuple[float, float]] = []

    def add(self, start: float, end: float) -> None:
        """Add an interval."""
        latest = self._latest
        while latest and latest[-1][1] >= start:
            start = min(start, latest.pop()[0])
        latest.append((start, end))
        if len(latest) > _MAX_PERIODS:
            first, last = latest.pop(0)
            self._folded_s += last - first

    @property
    def total_s(self) -> float:
        """The time that they cover, in seconds."""
        return self._folded_s + sum(end - start for start, end in self._latest)
