"""The definitions in the pool's own process: for ``call.NAME.local(...)``, and for classes of cells."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from .mind.registry import Change
from .wire.protocol import Cell, Function, Install
from .worker.cells import PREFIX, CellFinder, load_cell, show_source
from .worker.runtime import Runtime

__all__ = ["LocalDefinitions"]


class LocalDefinitions:
    """Holds here what workers hold, when it is asked for.

    Nothing is imported or run before that: a cell may be there for the workers only.

    Parameters
    ----------
    changes : callable
        Given an epoch, returns what leads from it to the one in force.
    constant : callable
        Given a constant's buffers as workers get them, returns them as memory.
    """

    def __init__(self, changes: Callable[[int], Change], constant: Callable[[Any], Sequence[Any]]) -> None:
        self._changes = changes
        self._runtime = Runtime(constant)
        self._epoch = 0
        self._cells: dict[str, Cell] = {}
        self._lock = threading.RLock()  # a cell that is run here may need another one
        self._finder = CellFinder(self._load)
        sys.meta_path.append(self._finder)

    def close(self) -> None:
        """Take the finder out; what was loaded stays, since values of its classes may be about."""
        if self._finder in sys.meta_path:
            sys.meta_path.remove(self._finder)

    def know(self, cell: Cell | None) -> None:
        """Remember a cell: values of its classes may come at any time, also after it has been replaced."""
        if cell is not None:
            self._cells[cell.module] = cell
            show_source(cell)  # a traceback may show its lines, although it never runs here

    def function(self, key: int) -> Callable[..., Any]:
        """Return a function as it is in force, to be called here."""
        with self._lock:
            self._catch_up()
            return self._runtime.function(key)

    def module(self, function: Function) -> ModuleType:
        """Return the module that a function is in."""
        if function.cell is not None:
            module = self._load(function.cell.module)
            assert module is not None
            return module
        return sys.modules[getattr(self.function(function.key), "__module__", "builtins")]

    def _catch_up(self) -> None:
        change = self._changes(self._epoch)
        if change.epoch != self._epoch:
            records = tuple(record.wire for record in change.records)
            self._runtime.install(Install(change.epoch, change.base, records, change.removed))
            self._runtime.activate(change.epoch)
            self._epoch = change.epoch

    def _load(self, name: str) -> ModuleType | None:
        if not name.startswith(PREFIX) or name not in self._cells:
            return None
        with self._lock:
            self._catch_up()
            module = self._runtime.module(name)
            if module is None:  # of an earlier revision
                module = sys.modules.get(name) or load_cell(
                    self._cells[name], self._runtime.given(self._cells[name])
                )
            return module
