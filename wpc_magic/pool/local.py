"""The definitions in the parent process: for ``call.NAME.local(...)``, and for classes of cells."""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from types import ModuleType
from typing import Any

from .core.registry import Change
from .wire.protocol import Cell, Function, Install, SetupCell, Shared
from .wire.seeded import Seeded
from .worker.cells import CellFinder, show_source
from .worker.namespaces import Binding
from .worker.runtime import Runtime

__all__ = ["LocalDefinitions"]


class LocalDefinitions:
    """Holds a copy of the definitions in this process, installed on demand.

    Nothing is imported or run before it is needed: a cell may be meant for the workers only.

    Parameters
    ----------
    changes : callable
        Given an epoch, returns the change from it to the one in force.
    constant : callable
        Given a constant's buffers as workers receive them, returns them as memory.
    cells_in_use : callable
        Returns the keys of the cells that definitions refer to.
    """

    def __init__(
        self,
        changes: Callable[[int], Change],
        constant: Callable[[Any], Sequence[Any]],
        cells_in_use: Callable[[], Collection[str]],
    ) -> None:
        self._changes = changes
        self._runtime = Runtime(constant, cells_in_use=cells_in_use)
        self._runtime.open_shared = _bind_shared
        self._epoch = 0
        self._setup = _LocalSetup()
        self._lock = threading.RLock()  # a cell that is run here may load another one
        self._finder = CellFinder(self._load)
        sys.meta_path.append(self._finder)

    def close(self) -> None:
        """Close resources, and remove the import finder.

        Loaded modules stay, since instances of their classes may still exist.
        """
        self._runtime.resources.close_all()
        if self._finder in sys.meta_path:
            sys.meta_path.remove(self._finder)

    def add_cell(self, cell: Cell) -> None:
        """Register a cell: instances of its classes may arrive at any time, also after it was replaced."""
        self._runtime.cells.add_texts([cell])
        show_source(cell)  # a traceback may show its lines, even if it never runs here

    def function(self, key: int) -> Callable[..., Any]:
        """Return the function in force, to be called here."""
        with self._lock:
            self._synchronise()
            if self._runtime.prepares:
                self._runtime.prepare(key)
            return self._runtime.function(key)

    def revision(self, function: Function) -> Callable[..., Any]:
        """Return a function as it was, where it is of a cell; else as it is in force now.

        Raises
        ------
        LookupError
            If its text is not kept any more.
        """
        if function.cell is None:
            return self.function(function.key)
        found: Any = self._load(function.cell.module)
        if found is None:
            raise LookupError(function.name)
        with self._lock:
            self._runtime.prepare_older(function)
        for part in function.path.split("."):
            found = getattr(found, part)
        return found  # type: ignore[no-any-return]

    def seeded(self, function: Callable[..., Any], arguments: Seeded) -> Callable[..., Any]:
        """Return a function that draws the numbers here that a call with these arguments draws."""

        @functools.wraps(function)
        def seeded(*args: Any, **kwargs: Any) -> Any:
            __tracebackhide__ = True
            self.begin_call(arguments)
            return function(*args, **kwargs)

        return seeded

    def begin_call(self, arguments: Seeded | None) -> None:
        """Begin a call in this thread: with the numbers of its arguments, or with others each time."""
        numbers, thread = self._runtime.numbers, threading.get_ident()
        if arguments is None:
            numbers.forget(thread)
        else:
            numbers.begin(thread, arguments, False)

    def module(self, function: Function) -> ModuleType:
        """Return the module of a function."""
        if function.cell is not None:
            module = self._load(function.cell.module)
            assert module is not None
            return module
        return sys.modules[getattr(self.function(function.key), "__module__", "builtins")]

    def _synchronise(self) -> None:
        change = self._changes(self._epoch)
        if change.epoch != self._epoch:
            wires = [record.wire for record in change.records]
            records = self._setup.with_what_is_needed(wires, change.removed)
            self._runtime.install(Install(*change[:2], records, change.removed, change.cells))
            self._setup.installed(records)
            self._runtime.activate(change.epoch)
            self._runtime.free_unreferenced()
            self._epoch = change.epoch

    def _load(self, name: str) -> ModuleType | None:
        if self._runtime.cells.text(name) is None:
            return None
        with self._lock:
            self._synchronise()
            return self._runtime.module(name)


class _LocalSetup:
    """The setup of workers in this process, where it does not run unless a function that runs here needs it.

    It is meant for workers: here, seeds and limits of threads are the program's own.
    """

    def __init__(self) -> None:
        self._setup: SetupCell | None = None
        self._has_run = False

    def with_what_is_needed(self, records: list[Any], removed: Collection[str]) -> tuple[Any, ...]:
        """Return the records of a change, with or without the setup."""
        own = [record for record in records if type(record) is SetupCell]
        if own:
            self._setup = own[0]
        elif self._setup is not None and self._setup.name in removed:
            self._setup, self._has_run = None, False
        setup, rest = self._setup, [record for record in records if type(record) is not SetupCell]
        if setup is None:
            return tuple(rest)
        if self._has_run and not own:
            return tuple(rest)
        provided = set(setup.provides)
        needs = {need for record in rest if type(record) is Function for need in _needs(record)}
        if not (self._has_run or provided & needs):
            return tuple(rest)
        return (setup, *rest)

    def installed(self, records: Iterable[Any]) -> None:
        """Record that a change is installed here."""
        self._has_run = self._has_run or any(type(record) is SetupCell for record in records)


def _bind_shared(record: Shared) -> Binding:
    # On demand: most pools have no shared objects.
    from .shared.region import find_region
    from .worker.shared_objects import bind

    return bind(record, find_region(record.number, record.name))


def _needs(function: Function) -> Iterable[str]:
    return function.needs if function.cell is None else function.cell.needs
