"""How a shell shows what the pool returns: tables, as text and as HTML.

The pool itself knows no notebook, so IPython's formatters are told here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from wpc_magic.dashboard.table import Table
from wpc_magic.pool.api import WorkerProcedureCall
from wpc_magic.pool.broadcast import Broadcast
from wpc_magic.pool.core.insights import Insights
from wpc_magic.pool.core.snapshot import PoolSnapshot
from wpc_magic.pool.listing import History, Listing
from wpc_magic.pool.procedures import Procedures

from .insight_tables import InsightReport
from .tables import (
    constant_table,
    dependency_table,
    event_table,
    function_table,
    resource_table,
    shared_table,
    status_table,
)

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["Displays", "table_of"]

_OF_KIND: dict[str, Callable[[Any], Table]] = {
    "constant": constant_table,
    "dependency": dependency_table,
    "event": lambda events: _latest(events),
    "function": function_table,
    "resource": resource_table,
    "shared object": shared_table,
}


_MAX_EVENTS = 50


def _latest(events: Any) -> Table:
    table = event_table(events, _MAX_EVENTS)
    if len(events) > _MAX_EVENTS:
        table.caption = f"the latest {_MAX_EVENTS} of {len(events)} events; %wpc_events has options"
    return table


def table_of(shown: Any) -> Table | InsightReport:
    """Return the table for something that the pool returns."""
    match shown:
        case WorkerProcedureCall():
            return status_table(shown.snapshot())
        case PoolSnapshot():
            return status_table(shown)
        case Insights():
            return InsightReport(shown)
        case Procedures():
            functions = object.__getattribute__(shown, "_pool_of_procedures").get_remote_functions()
            return function_table(functions)
        case Broadcast():
            rows = [(worker, str(future.call), future.state) for worker, future in sorted(shown.items())]
            return Table(("worker", "call", "state"), rows, repr(shown)[1:-1] if rows else "no workers")
        case _:
            return _OF_KIND[shown.kind](shown)


def _html(shown: Any) -> str:
    return table_of(shown)._repr_html_()


def _text(shown: Any, printer: Any, cycle: bool) -> None:
    # Inside a list or a dict one line is enough.
    printer.text(repr(shown) if len(printer.stack) > 1 else repr(table_of(shown)))


class Displays:
    """Tells a shell's formatters how to show what the pool returns.

    Parameters
    ----------
    shell : InteractiveShell
        The shell.
    """

    KINDS = (WorkerProcedureCall, PoolSnapshot, Insights, Procedures, Broadcast, Listing, History)

    def __init__(self, shell: InteractiveShell) -> None:
        formatters: Any = shell.display_formatter.formatters  # type: ignore[union-attr]  # a shell has one
        self._own: Any = shell.display_formatter.ipython_display_formatter  # type: ignore[union-attr]
        self._shown: list[type] = []  # what is shown by a function of its own
        self._functions = ((formatters["text/html"], _html), (formatters["text/plain"], _text))

    def install(self) -> None:
        """Register the formatters."""
        for formatter, function in self._functions:
            for kind in self.KINDS:
                formatter.for_type(kind, function)

    def show(self, kind: type, function: Callable[[Any], object]) -> None:
        """Have objects of a class shown by a function that displays them itself."""
        self._own.for_type(kind, function)
        self._shown.append(kind)

    def uninstall(self) -> None:
        """Remove them, unless somebody has registered others since."""
        while self._shown:
            self._own.pop(self._shown.pop(), None)
        for formatter, function in self._functions:
            for kind in self.KINDS:
                if formatter.type_printers.get(kind) is function:
                    formatter.pop(kind)
