"""The timeline: what each worker process has run when, in no more bars than a page can draw; pure functions.

::

    rows of the history ── bars_of(resolution) ──> bars: one for each long call, and for each lane and cell of
                                                   the grid one for all short calls that began there

A lane is one process, so that two are seen where one takes the other's place. What is shorter than a cell of
the grid is merged with its neighbours, and counted; no call is lost, nor moved by more than a cell.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeAlias, TypedDict

from wpc_magic.pool.core.ended_calls import WorkerProcess
from wpc_magic.pool.core.history import UnpackedRow, ends_in_worker

__all__ = [
    "MAX_BARS",
    "WINDOW_S",
    "Bar",
    "BarRow",
    "LaneRow",
    "Timeline",
    "bars_of",
    "fitting",
    "timeline_of",
]

WINDOW_S = 300.0
"""How much of the past a timeline shows, in seconds."""

MAX_BARS = 2_000
"""How many bars it has at most."""

_MIN_RESOLUTION_S = 1e-4
_FAILED = frozenset({"failed", "timed_out", "worker_lost", "retried"})


class Bar(NamedTuple):
    """One call, or several short ones of one lane; times in seconds.

    Parameters
    ----------
    lane : int
        The process: `WorkerProcess.incarnation`.
    start, duration : float
        From the beginning of the first to the end of the last.
    function : str
        The one that has run longest of them.
    calls : int
        How many calls.
    failed, cancelled : int
        How many of them have failed, and were cancelled.
    busy : float
        How long they have run together.
    number : int
        The number of the call; 0: there are several.
    """

    lane: int
    start: float
    duration: float
    function: str
    calls: int = 1
    failed: int = 0
    cancelled: int = 0
    busy: float = 0.0
    number: int = 0


BarRow: TypeAlias = "tuple[int, float, float, int, int, int, int, float, int]"
"""A `Bar` to send: `start` is from `Timeline.base` on, and `function` a position in `Timeline.functions`."""


class LaneRow(TypedDict):
    """One process; times in seconds of the epoch."""

    n: int  # which process of the pool it is: `Bar.lane`
    worker: int
    pid: int
    start: float
    end: float | None  # None: it runs
    reason: str  # why it has ended; empty: as it was asked to


class Timeline(TypedDict):
    """A timeline, or what is to be added to one; JSON-serializable."""

    base: float  # in seconds of the epoch
    since: float  # the time that it covers, from `base` on, in seconds
    until: float
    resolution: float  # what is shorter may be merged, in seconds
    functions: list[str]
    lanes: list[LaneRow]  # by worker, then by their beginning
    bars: list[BarRow]  # by lane, then by their beginning


class _Cell:
    """What is merged into one bar."""

    __slots__ = ("busy", "by_function", "calls", "cancelled", "end", "failed", "lane", "number", "start")

    def __init__(self, lane: int, start: float, end: float) -> None:
        self.lane, self.start, self.end = lane, start, end
        self.busy, self.calls, self.failed, self.cancelled, self.number = 0.0, 0, 0, 0, 0
        self.by_function: dict[str, float] = {}

    def add(self, row: UnpackedRow, start: float, end: float, weight: int) -> None:
        """Merge a call into it, which stands for `weight` calls."""
        ran = end - start
        self.start, self.end = min(self.start, start), max(self.end, end)
        self.busy += ran * weight
        self.number = 0 if self.calls else row.number
        self.calls += weight
        if row.state in _FAILED or row.failed_items:
            self.failed += weight
        elif row.state == "cancelled":
            self.cancelled += weight
        name = row.function.name
        self.by_function[name] = self.by_function.get(name, 0.0) + ran

    def bar(self) -> Bar:
        """Return it as a bar."""
        function = max(self.by_function, key=lambda name: (self.by_function[name], name))
        duration = self.end - self.start
        number = self.number if self.calls == 1 else 0
        busy = min(self.busy, duration) if self.calls > 1 else duration
        return Bar(
            self.lane, self.start, duration, function, self.calls, self.failed, self.cancelled, busy, number
        )


def bars_of(rows: Sequence[UnpackedRow], resolution: float, weight: int = 1) -> list[Bar]:
    """Return the bars of some calls, by lane and beginning.

    Parameters
    ----------
    rows : sequence of UnpackedRow
        The calls, in the order of their ends. Those that have not begun have no bar.
    resolution : float
        How long the cells of the grid are, in seconds: calls that are shorter are merged.
    weight : int
        How many calls each row stands for.

    Examples
    --------
    >>> from wpc_magic.pool.core.stats import FunctionStats
    >>> f = FunctionStats("f", 1)
    >>> rows = [UnpackedRow(n, f, 1, 0.0, 0.0, 10_000_000, 0.02 * n, ) for n in (1, 2, 3)]
    >>> rows.append(UnpackedRow(4, f, 1, 0.0, 0.0, 5_000_000_000, 6.0))
    >>> [(round(bar.start, 2), round(bar.duration, 2), bar.calls) for bar in bars_of(rows, 1.0)]
    [(0.01, 0.05, 3), (1.0, 5.0, 1)]
    """
    bars: list[Bar] = []
    cells: dict[tuple[int, int], _Cell] = {}
    for row, end in zip(rows, ends_in_worker(rows), strict=True):
        if row.ran_ns < 0:
            continue
        start = end - row.ran_ns / 1e9
        if end - start >= resolution:
            alone = _Cell(row.incarnation, start, end)
            alone.add(row, start, end, weight)
            bars.append(alone.bar())
            continue
        key = row.incarnation, int(start // resolution)
        cell = cells.get(key)
        if cell is None:
            cell = cells[key] = _Cell(row.incarnation, start, end)
        cell.add(row, start, end, weight)
    bars += [cell.bar() for cell in cells.values()]
    bars.sort()
    return bars


def fitting(
    rows: Sequence[UnpackedRow], resolution: float, most: int = MAX_BARS, weight: int = 1
) -> tuple[list[Bar], float]:
    """Return no more than so many bars, and the resolution at which these are all; see `bars_of`."""
    resolution = max(resolution, _MIN_RESOLUTION_S)
    while True:
        bars = bars_of(rows, resolution, weight)
        lanes = len({bar.lane for bar in bars})
        if len(bars) <= max(most, lanes):
            return bars, resolution
        resolution *= 2


def timeline_of(
    rows: Sequence[UnpackedRow],
    processes: Iterable[WorkerProcess],
    since: float,
    until: float,
    *,
    offset: float = 0.0,
    resolution: float = 0.0,
    most: int = MAX_BARS,
    weight: int = 1,
) -> Timeline:
    """Return the timeline of an interval.

    Parameters
    ----------
    rows : sequence of UnpackedRow
        The calls, in the order of their ends; those outside the interval are left out.
    processes : iterable of WorkerProcess
        The processes.
    since, until : float
        The interval, on the clock of the rows and processes, in seconds.
    offset : float
        What is added to a time of that clock to have one of the epoch.
    resolution : float
        The finest, in seconds; 0: what a page can draw that has room for `most` bars side by side.
    most : int
        How many bars at most.
    weight : int
        How many calls each row stands for.

    Returns
    -------
    Timeline
        If there are more lanes than bars allowed, each that has run something has one.
    """
    inside = [row for row in rows if row.ended >= since and row.ended - max(row.ran_ns, 0) / 1e9 <= until]
    bars, resolution = fitting(inside, resolution or (until - since) / most, most, weight)
    functions: dict[str, int] = {}
    sent: list[BarRow] = []
    for bar in bars:
        function = functions.setdefault(bar.function, len(functions))
        start, duration, busy = (round(each, 5) for each in (bar.start - since, bar.duration, bar.busy))
        sent.append(
            (bar.lane, start, duration, function, bar.calls, bar.failed, bar.cancelled, busy, bar.number)
        )
    lanes = [
        LaneRow(
            n=each.incarnation,
            worker=each.worker_id,
            pid=each.pid,
            start=round(each.started_at + offset, 3),
            end=None if each.ended_at is None else round(each.ended_at + offset, 3),
            reason=each.reason,
        )
        for each in processes
        if each.started_at <= until and (each.ended_at is None or each.ended_at >= since)
    ]
    return Timeline(
        base=round(since + offset, 5),
        since=0.0,
        until=round(until - since, 5),
        resolution=resolution,
        functions=list(functions),
        lanes=sorted(lanes, key=lambda lane: (lane["worker"], lane["start"], lane["n"])),
        bars=sent,
    )
