"""The stop button: cancels the calls of a cell, and reports it in a status line.

A cell ends at once. Whether its calls in the workers end within the grace period is known only later; then
the line is updated: ``interrupted: 3 calls cancelled, 1 worker replaced``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

from .tables import plural

if TYPE_CHECKING:
    from wpc_magic.notebook.status_line import StatusLine
    from wpc_magic.pool import WorkerProcedureCall
    from wpc_magic.pool.core.events import WorkerEvent

__all__ = ["Interruptions"]

_KEPT = 64
"""Interruptions that are remembered. No state of the pool says that nothing more will be heard of one: a
worker is replaced, and its call gone, before the event of it comes, which is sent in a thread of its own."""


class _Interruption:
    """The report to one cell."""

    def __init__(self, calls: Collection[str]) -> None:
        self.calls = frozenset(calls)  # whose workers may still have to be replaced
        self.cancelled = 0
        self.replaced: set[int] = set()
        self.line: StatusLine | None = None

    def __str__(self) -> str:
        text = f"interrupted: {plural(self.cancelled, 'call')} cancelled"
        return f"{text}, {plural(len(self.replaced), 'worker')} replaced" if self.replaced else text


class Interruptions:
    """Cancels the calls of interrupted cells, and reports to the cells.

    Parameters
    ----------
    pool : WorkerProcedureCall
        The pool.
    show : callable
        Takes an origin and a text, shows it as a line of the running cell, and returns that line.
    """

    def __init__(self, pool: WorkerProcedureCall, show: Callable[[Any, str], StatusLine]) -> None:
        self._pool = pool
        self._show = show
        self._interruptions: deque[_Interruption] = deque(maxlen=_KEPT)
        self._told: tuple[Any, int] = (None, 0)  # the origin that was told last, and of how many calls

    def stop_calls(self, origin: Any) -> None:
        """Cancel the calls of an interrupted cell or callback, and report it; all other calls continue."""
        if not origin:
            return
        pool = self._pool
        report = _Interruption(pool.calls_at_workers(origin))
        self._interruptions.append(report)  # before anything is cancelled: events may come at once
        pool.cancel_all(origin)
        # Including those that were cancelled before: a task that is interrupted cancels what it awaits. But a
        # cell that continues after the first interrupt may be interrupted again.
        cancelled = pool.cancelled_count_of(origin)
        report.cancelled = cancelled - (self._told[1] if self._told[0] == origin else 0)
        self._told = origin, cancelled
        if report.cancelled:
            report.line = self._show(origin, str(report))
            if report.replaced:  # before the line was shown
                report.line.change(str(report))

    def on_event(self, event: WorkerEvent) -> None:
        """Update the line of an interrupted cell after a worker of one of its calls was replaced."""
        if event.event_name != "call_ended_by_force":
            return
        for report in tuple(self._interruptions):
            if event.correlation_id in report.calls:
                report.replaced.add(event.worker_id)
                if report.line is not None:
                    report.line.change(str(report))
