"""The loads of cells: each time that a text is to be loaded anew, it is a module of its own."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator

from ..core.registry import CellText, Record
from ..wire import protocol
from ..worker.cells import cell_key

__all__ = ["CellLoads"]


class CellLoads:
    """Numbers the loads of cells, and the revisions of functions, of one pool.

    Attributes
    ----------
    keys : iterator of int
        The numbers of functions, in all their revisions.
    """

    def __init__(self) -> None:
        self.keys = itertools.count(1)
        self._loads: dict[str, int] = {}

    def next_load(self, cell: protocol.Cell) -> CellText:
        """Return a cell as it is to be loaded next.

        The first load of a text has the same name in every pool, so that its classes are the same.
        """
        key = cell_key(cell.module)
        count = self._loads.get(key, 0)
        self._loads[key] = count + 1
        wire = cell._replace(module=f"{key}_{count}" if count else key)
        return CellText(
            wire.module, key, cell.inputs, len(cell.source), wire, protocol.ANY_VALUE in cell.inputs
        )

    def load_again(self, functions: list[Record]) -> Iterator[Record]:
        """Yield the functions of a cell, as those of its next load."""
        assert functions[0].cell is not None
        cell = self.next_load(functions[0].cell.wire)
        for record in functions:
            key = next(self.keys)
            wire = record.wire._replace(key=key, cell=cell.wire)
            yield dataclasses.replace(record, key=key, wire=wire, cell=cell, broken=None)
