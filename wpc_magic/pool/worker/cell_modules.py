"""The modules of cells that are not in use any more, but whose objects may still exist or arrive.

An object of a cell's class is pickled by reference to the module of the cell. When the cell is defined again,
or loaded again since one of its inputs has changed, its functions are in a new module. The old one is
dropped: only its text is kept, and weak references to its classes and functions. Where an old object arrives,
the module is made again, of these if any is alive, else of the text.

What a dropped module has at its top level may be large. It is freed at once if nothing refers to the module's
code any more. Else it is freed with the last object that does, which the collector finds; that is called when
the process has grown.
"""

from __future__ import annotations

import os
import sys
import weakref
from types import FunctionType, ModuleType

from wpc_magic.pool.wire.limits import MAX_TEXTS, MAX_TEXTS_SIZE
from wpc_magic.pool.worker.cells import PREFIX, cell_key, hide_source
from wpc_magic.pool.worker.unused import clear_module, is_unused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable
    from typing import Any

    from wpc_magic.pool.wire.protocol import Cell

__all__ = ["CellModules"]

_COLLECT_AFTER = 64  # dropped modules to which something may refer: they may hold what is no memory, too
_MIN_DROPPED = 64
_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
_GROWTH = 32 << 20  # bytes of the process, after which it is worth to look


class CellModules:
    """The texts of cells, and the modules that were dropped.

    Parameters
    ----------
    load : callable
        Given a cell, loads it in a module of its name, and returns that.
    in_use : callable
        Returns what `cell_key` returns of the cells that definitions refer to.
    """

    def __init__(self, load: Callable[[Cell], ModuleType], in_use: Callable[[], Collection[str]]) -> None:
        self._load = load
        self._in_use = in_use
        self._texts: dict[str, Cell] = {}
        self._size = 0
        self._dropped: dict[str, dict[str, weakref.ref[Any]]] = {}
        self._look_above = _MIN_DROPPED
        self._restored: list[str] = []
        self._to_collect = 0
        self._size_before = 0  # of the process, when it was collected last; 0: not measured

    def add_texts(self, cells: Iterable[Cell]) -> None:
        """Keep the texts of cells; where there are too many, the oldest are dropped that are not in use."""
        if not self._size_before:
            self._size_before = _process_size()
        for cell in cells:
            key = cell_key(cell.module)
            if self._texts.pop(key, None) is None:
                self._size += len(cell.source)
            self._texts[key] = cell
        if not self._is_full():
            return
        in_use = self._in_use()
        for key in list(self._texts):
            if key not in in_use:
                cell = self._texts.pop(key)
                self._size -= len(cell.source)
                hide_source(cell)
                if not self._is_full():
                    return

    def _is_full(self) -> bool:
        return len(self._texts) > MAX_TEXTS or self._size > MAX_TEXTS_SIZE

    def text(self, module: str) -> Cell | None:
        """Return the cell of a module; None: its text was dropped, or is of another pool."""
        cell = self._texts.get(cell_key(module)) if module.startswith(PREFIX) else None
        return None if cell is None else cell._replace(module=module)

    def drop(self, module: str) -> None:
        """Drop the module of a cell that no definition refers to any more."""
        while self._restored:
            sys.modules.pop(self._restored.pop(), None)
        found: list[Any] = [sys.modules.pop(module, None)]  # nothing else may hold it
        if found[0] is None:
            return
        refs = _code_of(found[0])
        _unregister(refs)
        if is_unused(found):
            del found[1:]
            clear_module(found.pop())
            if _alive(refs):  # classes; they may be in use
                self._remember(module, refs)
            return
        self._remember(module, refs)
        self._to_collect += 1
        if self._to_collect >= _COLLECT_AFTER:
            self.collect()
        else:
            found.clear()
            self.collect_if_grown()

    def _remember(self, module: str, refs: dict[str, weakref.ref[Any]]) -> None:
        self._dropped[module] = refs
        if len(self._dropped) > self._look_above:
            self._forget_dead()

    def _forget_dead(self) -> None:
        self._dropped = {name: refs for name, refs in self._dropped.items() if _alive(refs)}
        self._look_above = _MIN_DROPPED + 2 * len(self._dropped)  # amortized

    def collect_if_grown(self) -> None:
        """Free what was dropped and is not referred to, if the process has grown much."""
        size = _process_size()
        self._size_before = min(self._size_before, size)
        if size > self._size_before + _GROWTH:
            self.collect()

    def collect(self) -> None:
        """Free what was dropped and is not referred to."""
        import gc

        self._to_collect = 0
        gc.collect()
        self._size_before = _process_size()
        self._forget_dead()

    def restore(self, module: str) -> ModuleType | None:
        """Return a dropped module, of those of its classes and functions that are alive; None: none is."""
        alive = _alive(self._dropped.get(module, {}))
        cell = self.text(module)
        if not alive or cell is None:
            return None
        self._restored.append(module)  # for who asks now: later it would keep what is in it
        restored = ModuleType(module)
        restored.__dict__.update(alive, __file__=cell.file or cell.filename)

        def load_rest(name: str) -> Any:
            """Load what is not alive any more from the text, when it is needed."""
            if name.startswith("__"):
                raise AttributeError(name)
            sys.modules.pop(module, None)
            try:
                loaded = self._load(cell)
            finally:
                sys.modules[module] = restored
            for other, value in vars(loaded).items():
                restored.__dict__.setdefault(other, value)
            restored.__dict__.pop("__getattr__", None)
            try:
                return restored.__dict__[name]
            except KeyError:
                raise AttributeError(f"module {module!r} has no attribute {name!r}") from None

        restored.__dict__["__getattr__"] = load_rest
        return restored


def _code_of(module: ModuleType) -> dict[str, weakref.ref[Any]]:
    """Return the classes and functions of a module."""
    return {
        name: weakref.ref(value)
        for name, value in vars(module).items()
        if isinstance(value, type | FunctionType) and value.__module__ == module.__name__
    }


def _unregister(refs: dict[str, weakref.ref[Any]]) -> None:
    """Remove classes of exceptions from where `failure` has registered them; it does so again."""
    copyreg: Any = sys.modules.get("copyreg")
    if copyreg is not None:
        for ref in refs.values():
            kind = ref()
            if isinstance(kind, type) and issubclass(kind, BaseException):
                copyreg.dispatch_table.pop(kind, None)


def _process_size() -> int:
    """Return the memory of this process, in bytes; where the system does not tell, what it was at most."""
    try:
        statm = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:  # not Linux, or no descriptor is left
        import resource

        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most << 10
    try:
        return int(os.read(statm, 100).split()[1]) * _PAGE
    finally:
        os.close(statm)


def _alive(refs: dict[str, weakref.ref[Any]]) -> dict[str, Any]:
    return {name: value for name, ref in refs.items() if (value := ref()) is not None}
