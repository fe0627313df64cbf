"""What the stop button ends, and the line that tells of it.

A cell ends at once. Whether what it has left in the workers ends in time is known only later; so the line is
changed then: ``interrupted: 3 calls cancelled, 1 worker replaced``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

from .tables import plural

if TYPE_CHECKING:
    from wpc_magic.notebook.line import Line
    from wpc_magic.pool import WorkerProcedureCall
    from wpc_magic.pool.mind.events import WorkerEvent

__all__ = ["Interruptions"]


class _Interruption:
    """What one cell is told."""

    def __init__(self, origin: Any, calls: Collection[str]) -> None:
        self.origin = origin
        self.calls = frozenset(calls)  # which may cost their workers yet
        self.cancelled = 0
        self.replaced: set[int] = set()
        self.line: Line | None = None

    def __str__(self) -> str:
        said = f"interrupted: {plural(self.cancelled, 'call')} cancelled"
        return f"{said}, {plural(len(self.replaced), 'worker')} replaced" if self.replaced else said


class Interruptions:
    """Ends the calls of interrupted cells, and tells the cells.

    Parameters
    ----------
    pool : WorkerProcedureCall
        The pool.
    show : callable
        Given an origin and a text, shows it as a line of the cell that runs, and returns that line.
    """

    def __init__(self, pool: WorkerProcedureCall, show: Callable[[Any, str], Line]) -> None:
        self._pool = pool
        self._show = show
        self._cancelled_before = 0
        self._told: list[_Interruption] = []

    def begin_cell(self) -> None:
        """Count from now on what is cancelled."""
        self._cancelled_before = self._pool.cancelled_count

    def stop_calls(self) -> None:
        """Stop what the running cell has left in the workers, and say so; other cells' calls go on."""
        pool, origin = self._pool, self._pool.origin
        told = _Interruption(origin, pool.calls_at_workers(origin) if origin else ())
        self._told = [*(each for each in self._told if self._is_open(each)), told]
        if origin:
            pool.cancel_all(origin)
        told.cancelled = pool.cancelled_count - self._cancelled_before
        self.begin_cell()  # a cell that goes on after the first interrupt may be interrupted again
        if told.cancelled:
            told.line = self._show(origin, str(told))
            if told.replaced:  # a worker was, before the line was there
                told.line.change(str(told))

    def _is_open(self, told: _Interruption) -> bool:
        return not told.calls.isdisjoint(self._pool.calls_at_workers(told.origin))

    def on_event(self, event: WorkerEvent) -> None:
        """Tell an interrupted cell, which has ended, that one of its calls has cost a worker."""
        if event.event_name != "call_ended_by_force":
            return
        for told in self._told:
            if event.correlation_id in told.calls:
                told.replaced.add(event.worker_id)
                if told.line is not None:
                    told.line.change(str(told))
