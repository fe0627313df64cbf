"""A static view of one frame of the dashboard: for a terminal, and for a notebook without its kernel."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .meter import Reading, memory_text
from .table import Table
from .view import EventRow, Frame, PoolRow, WorkerRow, frame_of

if TYPE_CHECKING:
    from wpc_magic.pool.core.snapshot import PoolSnapshot

__all__ = ["StaticView", "elapsed_text", "take_static_view"]

_SHOWN_EVENTS = 10
_WORKER_COLUMNS = (
    *("worker", "state", "pid", "runs", "for", "waiting", "done", "failed", "restarts", "memory", "CPU"),
)
_STILL = "This stands still. Live in IPython, also in a terminal: %wpc_status --watch"

_RARE = (("resources", "resource"), ("shared", "shared"), ("spare_workers", "spare worker"))


class StaticView:
    """A frame as static tables.

    Parameters
    ----------
    frame : Frame
        The frame to show.
    now : float
        The time of the frame, in seconds of the epoch.
    """

    def __init__(self, frame: Frame, now: float) -> None:
        self.frame = frame
        self.now = now

    def tables(self) -> list[Table]:
        """Return the table of the workers, and that of the latest events if there are any."""
        pool = self.frame["pool"]
        hosts = {row["host"] for row in self.frame["workers"]} != {""}
        columns = (*_WORKER_COLUMNS, "host") if hosts else _WORKER_COLUMNS
        rows = [
            (*line, row["host"])[: len(columns)]
            for row in sorted(self.frame["workers"], key=lambda row: (row["host"], row["id"]))
            for line in (self._worker(row), *self._leaving(row))
        ]
        at = time.strftime("%H:%M:%S", time.localtime(self.now))
        caption = " · ".join((f"{pool['name']} {pool['state']}", *totals(pool), at))
        workers = Table(columns, rows, caption if rows else f"{caption}. No worker runs.")
        latest = [_event(row) for row in self.frame["events"][-_SHOWN_EVENTS:]]
        if not latest:
            return [workers]
        of_events = ("time (UTC)", "worker", "severity", "event", "call", "details")
        return [workers, Table(of_events, latest, "The latest events")]

    def _worker(self, row: WorkerRow) -> tuple[Any, ...]:
        state = row["state"]
        if row["back_at"] is not None:
            state += f" in {max(row['back_at'] - self.now, 0):.0f} s"
        return (
            row["id"],
            state,
            "" if row["pid"] is None else row["pid"],
            row["call"] or "",
            "" if row["since"] is None else elapsed_text(self.now - row["since"]),
            row["waiting"],
            row["done"],
            row["failed"],
            row["restarts"],
            row["memory"],
            "" if row["cpu"] is None else f"{row['cpu']} %",
        )

    def _leaving(self, row: WorkerRow) -> list[tuple[Any, ...]]:
        """Return a line for each process that was replaced, and finishes its calls."""
        return [
            (
                row["id"],
                "leaving",
                "" if old["pid"] is None else old["pid"],
                old["call"] or "",
                "" if old["since"] is None else elapsed_text(self.now - old["since"]),
                *("",) * 6,
            )
            for old in row["leaving"]
        ]

    def __repr__(self) -> str:
        return "\n\n".join([*map(repr, self.tables()), _STILL])

    def _repr_html_(self) -> str:
        return "\n".join(table._repr_html_() for table in self.tables())


def totals(pool: PoolRow) -> list[str]:
    """Return the counts of a pool, each with its label."""
    named = (("functions", "function"), ("dependencies", "dependency"), ("constants", "constant"))
    counts: dict[str, Any] = {**pool}
    # What most pools have none of is told where there is some.
    more = [(many, one) for many, one in _RARE if counts[many]]
    return [
        *(f"{pool['queued']} queued", f"{pool['in_flight']} in flight"),
        *(f"{pool['done']} done", f"{pool['failed']} failed"),
        *([f"{pool['cancelled']} cancelled"] if pool["cancelled"] else []),
        *(
            f"{counts[many]} {one if counts[many] == 1 else many.replace('_', ' ')}"
            for many, one in (*named, *more)
        ),
    ]


def _event(row: EventRow) -> tuple[Any, ...]:
    worker = row["worker"] or "pool"
    return (row["at"][11:19], str(worker), row["severity"], row["name"], row["call"], row["text"])


def elapsed_text(seconds: float) -> str:
    """Return a human-readable duration.

    Examples
    --------
    >>> elapsed_text(1.26), elapsed_text(83), elapsed_text(7384)
    ('1.3 s', '1 min 23 s', '2 h 03 min')
    """
    seconds = max(seconds, 0.0)
    if seconds < 59.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def take_static_view(pool: Any, clock: Callable[[], float] = time.time) -> StaticView:
    """Return a static view of the current state of a pool.

    Parameters
    ----------
    pool : WorkerProcedureCall
        The pool.
    clock : callable
        Returns the time, in seconds of the epoch.
    """
    snapshot: PoolSnapshot = pool.snapshot()
    readings = {worker.worker_id: _reading(worker) for worker in snapshot.workers}
    now = clock()
    return StaticView(frame_of(snapshot, pool.events(), now, readings=readings), now)


def _reading(worker: Any) -> Reading:
    """Return the reading of a single snapshot, without averaging."""
    memory = "" if worker.memory_bytes is None else memory_text(worker.memory_bytes)
    return Reading(memory, None if worker.cpu_percent is None else round(worker.cpu_percent))
