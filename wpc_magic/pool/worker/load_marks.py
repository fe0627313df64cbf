"""What a cell was loaded with, told to a compiler that caches on disk.

`numba.njit(cache=True)` compiles globals into a function, and finds what it has compiled before by the lines
of the function: with another value of a constant it would find the old code. So the lines of such a cell, as
`inspect` finds them, carry a mark of all that the cell reads while it is loaded. The code itself is compiled
from the plain text.
"""

from __future__ import annotations

from wpc_magic.pool.wire.protocol import ANY_VALUE, Constant, Dependency, Function, Shared

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from wpc_magic.pool.wire.protocol import Cell
    from wpc_magic.pool.worker.namespaces import Binding

__all__ = ["marked"]


def marked(cell: Cell, names: Mapping[str, Binding], map_buffers: Callable[[Any], Sequence[Any]]) -> Cell:
    """Return a cell with the lines that `inspect` finds.

    Parameters
    ----------
    cell : Cell
        The cell that is loaded.
    names : mapping
        The definitions that it is loaded with.
    map_buffers : callable
        Returns the memory of a constant's buffers.
    """
    if not cell.inputs or "cache" not in cell.source:
        return cell
    import re

    if re.search(r"\bcache\s*=\s*True", cell.source) is None:
        return cell
    mark = _digest(cell, names, map_buffers)
    # Not after a backslash, where no comment can be.
    lines = re.sub(r"(?m)^([ \t]*(?:@|def |async def ).*[^\\\n])$", rf"\1  # with {mark}", cell.source)
    return cell._replace(source=lines)


def _digest(cell: Cell, names: Mapping[str, Binding], map_buffers: Callable[[Any], Sequence[Any]]) -> str:
    """Return a digest of the values that a cell reads while it is loaded, also through functions."""
    from hashlib import sha256

    digest = sha256()
    values = (name for name, binding in names.items() if not isinstance(binding.record, Function))
    pending = sorted({*cell.inputs, *(values if ANY_VALUE in cell.inputs else ())})
    for name in pending:  # it grows during the iteration
        binding = names.get(name)
        if binding is None:
            continue
        record = binding.record
        digest.update(repr(name).encode())
        if isinstance(record, Constant):
            for part in (record.payload, *map_buffers(record.buffers)):
                digest.update(part)
        elif isinstance(record, Shared):
            digest.update(repr(record.number).encode())
        elif isinstance(record, Dependency):
            digest.update(repr((record.module, record.export)).encode())
        else:
            inner = record.cell
            digest.update(record.payload if inner is None else repr(inner.source).encode())
            more = [*record.needs, *((*inner.inputs, *inner.needs) if inner is not None else ())]
            pending += sorted(set(more) - set(pending))
    return digest.hexdigest()[:12]
