"""A cell as a module: the same name, file name and source lines in every worker and in the pool's process.

Classes of a cell travel by reference to that module. The pool's process imports it on first need, so that
``==``, ``isinstance`` and ``except`` hold on both sides.
"""

from __future__ import annotations

import sys
from types import ModuleType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from importlib.machinery import ModuleSpec
    from typing import Any

    from wpc_magic.pool.wire.protocol import Cell

__all__ = ["PREFIX", "CellFinder", "load_cell", "show_source", "show_sources"]

PREFIX = "wpc_cell_"
"""What the name of every such module begins with."""


def show_source(cell: Cell) -> None:
    """Let tracebacks find the lines of the cell, also where they have no module to ask."""
    import linecache

    # As the compiler counts them: `splitlines` would also end one at a form feed.
    lines = [line + "\n" for line in cell.source.split("\n")]
    # An entry without a time is never checked against a file, so `linecache.checkcache` keeps it.
    linecache.cache[cell.filename] = (len(cell.source), None, lines, cell.filename)


def show_sources() -> None:
    """Let tracebacks find the lines of every cell that is here."""
    for name, module in list(sys.modules.items()):
        loader: Any = module.__loader__ if name.startswith(PREFIX) else None
        if isinstance(loader, _Source):
            show_source(loader.cell)


def load_cell(cell: Cell, given: Mapping[str, Any]) -> ModuleType:
    """Run a cell in a module of its own, and return that.

    Parameters
    ----------
    cell : Cell
        The source.
    given : mapping
        Names that it finds in its globals before its first line runs.

    Raises
    ------
    BaseException
        Whatever the cell raises; no trace of the module stays then.
    """
    code = compile(cell.source, cell.filename, "exec", dont_inherit=True)
    module = ModuleType(cell.module)
    module.__file__ = cell.filename
    # By it `linecache` and `inspect` find the lines; a worker does not load them just to tell them.
    module.__loader__ = _Source(cell)  # type: ignore[assignment]
    if "linecache" in sys.modules:
        show_source(cell)
    module.__dict__.update(given)
    sys.modules[cell.module] = module
    try:
        exec(code, module.__dict__)
    except BaseException:
        sys.modules.pop(cell.module, None)
        show_source(cell)  # for the traceback: there is no module any more to ask for the lines
        raise
    return module


class CellFinder:
    """A `sys.meta_path` finder by which unpickling reaches the modules of cells.

    Parameters
    ----------
    load : callable
        Given the module's name, runs the cell and returns its module, or None if the name is unknown.
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

        return ModuleSpec(name, _Loaded(module), origin=module.__file__)  # type: ignore[arg-type]


class _Source:
    """A loader that has only the source."""

    def __init__(self, cell: Cell) -> None:
        self.cell = cell

    def get_source(self, name: str) -> str:
        return self.cell.source


class _Loaded:
    """A loader whose module has run already."""

    def __init__(self, module: ModuleType) -> None:
        self._module = module

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        pass
