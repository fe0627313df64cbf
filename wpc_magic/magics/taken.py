"""What a cell that runs in a worker, or a function, takes along from the notebook, as it is now."""

from __future__ import annotations

import builtins
import dataclasses
from collections.abc import Collection, Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

from wpc_magic.pool.futures import CallFuture
from wpc_magic.pool.source.cell_call import CellBody
from wpc_magic.pool.source.draft import look_in
from wpc_magic.pool.source.objects import code_names, plain_function, reference
from wpc_magic.pool.streams import ResultStream
from wpc_magic.pool.wire.codec import encode
from wpc_magic.pool.wire.unpicklable import find_unpicklable

from .parsing import UsageMistake
from .tables import size_text

if TYPE_CHECKING:
    from wpc_magic.pool import WorkerProcedureCall

__all__ = ["Taken", "take", "taken_line"]

_WORTH_TELLING = 100_000  # bytes


@dataclasses.dataclass(frozen=True, slots=True)
class Taken:
    """What a cell takes along.

    Parameters
    ----------
    values : dict
        The values by their names.
    sizes : dict
        How large each value is, in bytes, and whether it is passed in shared memory; without modules.
    """

    values: Mapping[str, Any]
    sizes: Mapping[str, tuple[int, bool]]

    def __str__(self) -> str:
        """Return a line for the user: ``takes df (212 MB, shared), clean``; empty if there is nothing."""
        parts = []
        for name, (size, shared) in self.sizes.items():
            how = f" ({size_text(size)}{', shared' if shared else ''})" if size >= _WORTH_TELLING else ""
            parts.append(name + how)
        return f"takes {', '.join(parts)}" if parts else ""


def take(
    cell: CellBody,
    namespace: Mapping[str, Any],
    registered: Collection[str],
    without: Sequence[str] = (),
) -> Taken:
    """Return what a cell reads, and the notebook has; registered names are used as they are.

    Parameters
    ----------
    cell : CellBody
        The cell.
    namespace : mapping
        The notebook's variables.
    registered : collection of str
        The names that the workers have.
    without : sequence of str
        Names that the cell gets in another way.

    Raises
    ------
    UsageMistake
        If a value cannot travel.
    """
    look = look_in(namespace)
    values: dict[str, Any] = {}
    sizes: dict[str, tuple[int, bool]] = {}
    for name in cell.reads:
        if name in without or (name in registered and name not in cell.bound):
            continue
        if name == "get_ipython":
            raise UsageMistake(f"the cell uses {name}, which stays in the notebook")
        fix = look(name)
        if fix is None:  # it is nowhere, or one of Python's own
            continue
        value = values[name] = namespace[name]
        if fix.kind == "pool":
            raise UsageMistake(f"the cell uses {name}, which stays in the notebook")
        _check_globals(name, value, registered)
        if not isinstance(value, ModuleType):
            sizes[name] = _size(name, value)
    return Taken(values, sizes)


def _check_globals(name: str, value: object, registered: Collection[str]) -> None:
    """Refuse a function of the notebook that reads what only the workers have: it is not given that there."""
    plain = plain_function(value)
    if plain is None or reference(value) is not None:
        return
    for need in code_names(plain.__code__)[0]:
        if need in registered and need not in plain.__globals__ and not hasattr(builtins, need):
            raise UsageMistake(
                f"{name} calls {need}, which only the workers have, so register it, too: wpc.function({name})"
            )


def _size(name: str, value: object) -> tuple[int, bool]:
    if isinstance(value, CallFuture | ResultStream):  # the cell's code may want either, it or its value
        what = "the future of a call" if isinstance(value, CallFuture) else "a stream"
        raise UsageMistake(
            f"{name} cannot be taken to a worker, since it is {what}. "
            f"To take its value: {name} = {name}.result()"
        )
    try:
        body, buffers = encode(value)
    except Exception as error:
        why = find_unpicklable(value, name) or f"{type(error).__name__}: {error}"
        raise UsageMistake(f"{name} cannot be taken to a worker: {why}") from None
    return len(body) + sum(buffer.nbytes for buffer in buffers), bool(buffers)


def taken_line(pool: WorkerProcedureCall, names: Collection[str]) -> list[str]:
    """Return the line that says what a definition has taken along: dependencies and constants; if any."""
    if not names:
        return []
    parts = []
    for each in pool.get_worker_dependencies():
        if each.alias in names:
            target = (
                f"{each.module_specifier}.{each.export_name}" if each.export_name else each.module_specifier
            )
            parts.append(f"{each.alias} = {target}")
    for info in pool.get_worker_constants():
        if info.name in names:
            size = f", {size_text(info.nbytes)}" if info.nbytes >= _WORTH_TELLING else ""
            shared = f", not read-only: {', '.join(info.shared_kinds)}" if info.shared_kinds else ""
            parts.append(f"{info.name} ({info.type_name}{size}{shared})")
    return [f"takes {', '.join(parts)}"]
