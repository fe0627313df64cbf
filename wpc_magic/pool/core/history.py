"""What is kept of the calls that have ended last: one tuple each, and nothing is computed for it.

A call that is answered with a value, which is nearly every one, leaves

    number, FunctionStats, incarnation, times, ran_ns, ended

and any other the same with more, see `CallHistory.add`. Times are in seconds, on the monotonic clock; `times`
is `Call.times`. Rows are in the order of their ends.
"""

from __future__ import annotations

import dataclasses
from bisect import bisect_left, bisect_right
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any, NamedTuple

from .calls import Call
from .ended_calls import EndedCall, PoolHistory, WorkerProcess
from .events import ErrorInfo
from .stats import FunctionStats

__all__ = [
    "CallHistory",
    "Row",
    "UnpackedRow",
    "end_of",
    "ends_in_worker",
    "history_of",
    "shortened",
    "unpacked",
]

_MAX_PROCESSES = 1_000
_MAX_ERROR = 200  # characters

Row = tuple[Any, ...]
"""What is kept of one call."""


class UnpackedRow(NamedTuple):
    """A row with names; times in seconds, on the monotonic clock."""

    number: int
    function: FunctionStats
    incarnation: int  # 0: it was never sent
    queued: float
    sent: float
    ran_ns: int  # -1: it has not begun
    ended: float
    items: int = 0
    failed_items: int = 0
    state: Any = "done"
    error: str = ""


def unpacked(row: Row) -> UnpackedRow:
    """Return a row with names."""
    number, function, incarnation, times, ran_ns, ended, *rest = row
    queued, sent = times if type(times) is tuple else (times, times)
    return UnpackedRow(number, function, incarnation, queued, sent, ran_ns, ended, *rest)


def end_of(row: Row) -> float:
    """Return when the call of a row has ended."""
    end: float = row[5]
    return end


def shortened(error: ErrorInfo | BaseException | None) -> str:
    r"""Return an error in one line; empty: there is none.

    Examples
    --------
    >>> shortened(ErrorInfo("wpc_cell_1a2b.Missing", "no file\nand no folder")), shortened(KeyError("x"))
    ('Missing: no file and no folder', "KeyError: 'x'")
    """
    if error is None:
        return ""
    if isinstance(error, ErrorInfo):
        name, message = error.name.rpartition(".")[2], error.message
    else:
        name, message = type(error).__name__, str(error)
    text = " ".join(f"{name}: {message}"[: 2 * _MAX_ERROR].split())
    return text if len(text) <= _MAX_ERROR else f"{text[: _MAX_ERROR - 1]}…"


class CallHistory:
    """The rows of the calls that have ended last, oldest first.

    Parameters
    ----------
    size : int
        How many are kept; 0: none.

    Attributes
    ----------
    append : callable
        Adds a row: that of the queue itself, so that a call costs no call of ours.

    Examples
    --------
    >>> history, stats = CallHistory(2), FunctionStats("f", 1)
    >>> for number in (1, 2, 3):
    ...     history.append((number, stats, 1, 0.0, 1_000_000_000, 2.0 * number))
    >>> seen = history_of(history.rows(), history.processes(), history.sizes)
    >>> [(call.number, call.began_at, call.ended_at) for call in seen.calls]
    [(2, 3.0, 4.0), (3, 5.0, 6.0)]
    """

    def __init__(self, size: int) -> None:
        self._rows: deque[Row] = deque(maxlen=size)
        self.append: Callable[[Row], None] = self._rows.append
        self._sizes: OrderedDict[int, list[int | None]] = OrderedDict()  # in and out, by the call's number
        self._processes: OrderedDict[int, WorkerProcess] = OrderedDict()

    def __len__(self) -> int:
        return len(self._rows)

    def resize(self, size: int) -> None:
        """Keep at most `size` calls from now on."""
        if size != self._rows.maxlen:
            self._rows = deque(self._rows, maxlen=size)
            self.append = self._rows.append

    def add(
        self,
        call: Call,
        function: FunctionStats,
        incarnation: int,
        ran_ns: int,
        now: float,
        state: str,
        *,
        failed_items: int = 0,
        error: str = "",
    ) -> None:
        """Add a call of which more is to be said than that it has a value."""
        times = getattr(call, "times", now)  # it may have been refused before it was queued
        self.append(
            (
                call.id,
                function,
                incarnation,
                times,
                ran_ns,
                now,
                call.items,
                failed_items,
                state,
                error,
            )
        )

    def sent(self, number: int, nbytes: int) -> None:
        """Note how large the arguments of a call were; it is told of those that are not quick."""
        self._sizes[number] = [nbytes, None]
        if len(self._sizes) > max(1, self._rows.maxlen or 0):
            self._sizes.popitem(last=False)

    def returned(self, number: int, nbytes: int) -> None:
        """Note how large the value of a call is, if `sent` was told of it."""
        sizes = self._sizes.get(number)
        if sizes is not None:
            sizes[1] = nbytes

    # -- processes --------------------------------------------------------------------------------------

    def process_started(self, incarnation: int, worker_id: int, pid: int, now: float) -> None:
        """Note that a process serves a slot, or that it has told another process id."""
        known = self._processes.get(incarnation)
        started = now if known is None else known.started_at
        self._processes[incarnation] = WorkerProcess(incarnation, worker_id, pid, started)
        if len(self._processes) > _MAX_PROCESSES:
            self._processes.popitem(last=False)

    def process_ended(self, incarnation: int, reason: str, now: float) -> None:
        """Note that a process has exited."""
        known = self._processes.get(incarnation)
        if known is not None:
            self._processes[incarnation] = dataclasses.replace(known, ended_at=now, reason=reason)

    def processes(self, since: float = 0.0) -> list[WorkerProcess]:
        """Return the processes that ran after a time; theirs are on the monotonic clock."""
        return [each for each in self._processes.values() if each.ended_at is None or each.ended_at >= since]

    # -- reading ----------------------------------------------------------------------------------------

    def oldest(self) -> float:
        """Return when the oldest of the calls has ended; 0: there is none."""
        return end_of(self._rows[0]) if self._rows else 0.0

    def find(self, number: int) -> Row | None:
        """Return the row of the last run of a call; None: it has not ended, or is not kept any more."""
        return next((row for row in reversed(self._rows) if row[0] == number), None)

    def since(self, after: float, most: int | None = None) -> tuple[list[Row], int, float]:
        """Return the rows of the calls that have ended after a time, and when the last one has.

        If there are more than `most`, only every second, third, ... of them is returned; the second element
        says how many calls each row stands for.
        """
        rows = self._rows
        first = bisect_right(rows, after, key=end_of)
        count = len(rows) - first
        step = 1 if most is None or count <= most else -(-count // max(1, most))
        return list(islice(rows, first, None, step)), step, end_of(rows[-1]) if count else after

    def rows(self, since: float = 0.0, latest: int | None = None) -> list[Row]:
        """Return the rows of the calls that have ended at or after a time, or the latest of them."""
        first = bisect_left(self._rows, since, key=end_of)
        if latest is not None:
            first = max(first, len(self._rows) - latest)
        return list(islice(self._rows, first, None))

    def sizes(self, number: int) -> tuple[int | None, int | None]:
        """Return the sizes of a call's arguments and of its value; None: not known."""
        bytes_in, bytes_out = self._sizes.get(number, (None, None))
        return bytes_in, bytes_out


def history_of(
    rows: Sequence[Row],
    processes: Iterable[WorkerProcess],
    sizes: Callable[[int], tuple[int | None, int | None]],
    offset: float = 0.0,
    arguments: Callable[[int], str] = lambda number: "",
) -> PoolHistory:
    """Return rows as data to show.

    Parameters
    ----------
    rows : sequence of tuple
        The rows, by their ends.
    processes : iterable of WorkerProcess
        The processes that have run them.
    sizes : callable
        See `CallHistory.sizes`.
    offset : float
        What is added to each time.
    arguments : callable
        Given the number of a call that has failed, returns its arguments as text.
    """
    known = {each.incarnation: each for each in processes}
    calls = []
    seen = [unpacked(row) for row in rows]
    for row, ended in zip(seen, ends_in_worker(seen), strict=True):
        process = known.get(row.incarnation)
        bytes_in, bytes_out = sizes(row.number)
        calls.append(
            EndedCall(
                number=row.number,
                function=row.function.name,
                version=row.function.revision,
                worker_id=None if process is None else process.worker_id,
                pid=None if process is None else process.pid,
                incarnation=row.incarnation,
                state=row.state,
                queued_at=row.queued + offset,
                sent_at=row.sent + offset if row.incarnation else None,
                began_at=None if row.ran_ns < 0 else ended - row.ran_ns / 1e9 + offset,
                ended_at=ended + offset,
                items=row.items,
                failed_items=row.failed_items,
                bytes_in=bytes_in,
                bytes_out=bytes_out,
                error=row.error,
                arguments=arguments(row.number) if row.error or row.failed_items else "",
            )
        )
    return PoolHistory(tuple(calls), tuple(each.moved(offset) for each in known.values()))


def ends_in_worker(rows: Sequence[UnpackedRow]) -> list[float]:
    """Return when each call has ended in its worker, at the latest: answers may be read some at a time.

    Of a process that runs one call after another, none ends after the next one has begun. Coroutines run side
    by side, and their ends are near when they are read.

    Examples
    --------
    >>> f = FunctionStats("f")
    >>> ends_in_worker([UnpackedRow(n, f, 1, 0.0, 0.0, 1_000_000_000, 9.0) for n in (1, 2, 3)])
    [7.0, 8.0, 9.0]
    """
    ends = [0.0] * len(rows)
    next_begin: dict[int, float] = {}
    for n in range(len(rows) - 1, -1, -1):
        row = rows[n]
        latest = next_begin.get(row.incarnation)
        end = row.ended
        if latest is not None and latest < end and row.ran_ns >= 0 and not row.function.interleaves:
            end = max(latest, row.sent + row.ran_ns / 1e9)
        ends[n] = end
        if row.ran_ns >= 0 and row.incarnation:
            next_begin[row.incarnation] = end - row.ran_ns / 1e9
    return ends
