"""A cell as a module, with the same name, file name and source in every worker and in the parent process.

Classes of a cell are pickled by reference to that module. The parent process imports it lazily, so that
``==``, ``isinstance`` and ``except`` work on both sides.
"""

from __future__ import annotations

import sys
from types import ModuleType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from importlib.machinery import ModuleSpec
    from types import CodeType
    from typing import Any

    from wpc_magic.pool.wire.protocol import Cell

__all__ = ["PREFIX", "CellFinder", "cell_key", "hide_source", "load_cell", "show_source", "show_sources"]

PREFIX = "wpc_cell_"
"""The prefix of the name of every such module."""
_KEY_LENGTH = len(PREFIX) + 16  # of the hash of the text; a number follows if the text was loaded before


def cell_key(module: str) -> str:
    """Return what the names of all modules of one text have in common."""
    return module[:_KEY_LENGTH]


def show_source(cell: Cell) -> None:
    """Make the lines of a cell available to tracebacks, also if its module is not loaded."""
    import linecache

    # Lines as the compiler counts them: `splitlines` would also end one at a form feed.
    lines = [line + "\n" for line in cell.source.split("\n")]
    # An entry without a time is never checked against a file, so `linecache.checkcache` keeps it.
    linecache.cache[cell.filename] = (len(cell.source), None, lines, cell.filename)


def hide_source(cell: Cell) -> None:
    """Free the lines of a cell that cannot be loaded any more."""
    linecache = sys.modules.get("linecache")
    if linecache is not None:
        linecache.cache.pop(cell.filename, None)


def show_sources() -> None:
    """Make the lines of every loaded cell available to tracebacks."""
    for name, module in list(sys.modules.items()):
        loader: Any = module.__loader__ if name.startswith(PREFIX) else None
        if isinstance(loader, _SourceLoader):
            show_source(loader.cell)


def load_cell(
    cell: Cell, initial_globals: Mapping[str, Any], shown: Cell | None = None
) -> tuple[ModuleType, dict[str, Any]]:
    """Run a cell in a new module; return that, and what the cell has defined itself.

    Parameters
    ----------
    cell : Cell
        The source.
    initial_globals : mapping
        The module's globals before its first line runs.
    shown : Cell, optional
        The cell with the lines that are shown, if these are others.

    Raises
    ------
    BaseException
        Whatever the cell raises; the module is removed then.
    """
    code = compile(cell.source, cell.filename, "exec", dont_inherit=True)
    module = _CellModule(cell.module)
    if cell.file:
        module.__dict__["__file__"] = cell.file
    # `linecache` and `inspect` find the lines through it, so a worker need not load them for that.
    module.__loader__ = _SourceLoader(shown or cell)  # type: ignore[assignment]
    if "linecache" in sys.modules:
        show_source(shown or cell)
    module.__dict__.update(initial_globals)
    before = dict(module.__dict__)
    sys.modules[cell.module] = module
    try:
        exec(code, module.__dict__)
    except BaseException:
        sys.modules.pop(cell.module, None)
        show_source(cell)  # for the traceback, which can no longer find the lines through the module
        raise
    after = module.__dict__
    own = {name: value for name, value in after.items() if name not in before or value is not before[name]}
    if not before.keys().isdisjoint(code.co_names):
        # `from math import pi` where `pi` is provided as well: the same object, but the cell's own.
        own.update((name, after[name]) for name in _stored_names(code) if name in after)
    return module, own


def _stored_names(code: CodeType) -> set[str]:
    """Return the global names that the code of a module assigns."""
    from opcode import EXTENDED_ARG, opmap

    stores = opmap["STORE_NAME"], opmap["STORE_GLOBAL"]
    names, argument = set(), 0
    for operation, low in zip(code.co_code[::2], code.co_code[1::2], strict=True):
        argument = argument << 8 | low
        if operation == EXTENDED_ARG:
            continue
        if operation in stores:
            names.add(code.co_names[argument])
        argument = 0
    return names


class CellFinder:
    """A `sys.meta_path` finder through which unpickling imports the modules of cells.

    Parameters
    ----------
    load : callable
        Runs the cell whose module has a given name and returns the module, or None if the name is unknown.
    """

    def __init__(self, load: Callable[[str], ModuleType | None]) -> None:
        self._load = load

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """Return a spec for the module of a known cell."""
        if not name.startswith(PREFIX):
            return None
        module = self._load(name)
        if module is None:
            return None
        from importlib.machinery import ModuleSpec

        return ModuleSpec(name, _LoadedModule(module), origin=module.__file__)  # type: ignore[arg-type]


class _CellModule(ModuleType):
    """A module whose code finds no ``__file__`` among its globals, as in a notebook, unless there is one."""

    def __getattr__(self, name: str) -> str:
        if name == "__file__":  # `inspect` finds the lines of a class through it
            loader: Any = self.__loader__
            filename: str = loader.cell.filename
            return filename
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")


class _SourceLoader:
    """A loader that only provides the source."""

    def __init__(self, cell: Cell) -> None:
        self.cell = cell

    def get_source(self, name: str) -> str:
        return self.cell.source


class _LoadedModule:
    """A loader of a module that has been executed already."""

    def __init__(self, module: ModuleType) -> None:
        self._module = module

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        pass
