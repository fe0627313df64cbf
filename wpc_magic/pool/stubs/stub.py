"""Writes the types of a pool's functions as a stub, by which type checkers and editors know ``pool.call``.

Each function is a class there, whose methods are those of a `Procedure` with the parameters of the function.
What its cell annotates stands as it was written (see `StubNames`), and the rest is ``Any``.
"""

from __future__ import annotations

import ast
import builtins
import copy
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ..core.registry import Kind, Record
from ..signatures import is_exact
from .classes import last_name
from .functions import FunctionStub
from .names import Definer, StubNames, names_of_text

__all__ = ["stub_text"]

_HEAD = '''"""Types of functions for worker processes, as they are in {what}.

Only type checkers and editors read this; it is written anew with the functions.
"""

# What cells annotate is taken as it is: mistakes in it are for their authors.
# mypy: ignore-errors
# pyright: reportIncompatibleMethodOverride=false

'''
_OWN = {
    **{name: f"from collections.abc import {name}" for name in ("Coroutine", "Iterable")},
    **{name: f"from typing import {name}" for name in ("Any", "Literal", "Unpack", "overload")},
    **{
        name: f"from wpc_magic.pool.typed import {name}"
        for name in (
            "Argument",
            "CallFuture",
            "MapKeywords",
            "MapResults",
            "Procedure",
            "ResultStream",
            "WorkerProcedureCall",
        )
    },
}
_KEEP_SIGNATURE = {"cache", "jit", "lru_cache", "njit"}  # decorators that change no parameter


def stub_text(records: Iterable[Record], module: str | None = "pipeline") -> str:
    """Return the stub of the module that `module_text` writes, or of a notebook's own pool.

    Parameters
    ----------
    records : iterable of Record
        The definitions.
    module : str or None
        The name of the module; None: it is of a notebook, and has the type of ``wpc`` instead.
    """
    every = sorted(records, key=lambda record: record.name)
    functions = [record for record in every if record.kind is Kind.FUNCTION]
    names = StubNames(_OWN)
    shared = _shared_names(every)
    typed = {
        record.name: FunctionStub(node, record.about.info, names, _definer(record, shared)).text(
            f"_call_{record.name}"
        )
        for record in functions
        if (node := _node(record)) is not None
    }
    kinds = {name: f"_call_{name}" for name in typed}
    calls = "".join(f"    {record.name}: {kinds.get(record.name, 'Procedure')}\n" for record in functions)
    body = "\n\n\n".join([*names.definitions, *typed.values(), _POOL.format(calls=calls)])
    body += _WPC if module is None else _BUILD
    used = [text for name, text in _OWN.items() if re.search(rf"\b{name}\b", body)]
    what = "a notebook" if module is None else f"{module}.py"
    return _HEAD.format(what=what) + "\n".join(_joined([*names.imports, *used])) + "\n\n\n" + body


_POOL = """class _Calls:
{calls}    def __getitem__(self, name: str) -> Procedure: ...


class Pool(WorkerProcedureCall):
    call: _Calls  # type: ignore[assignment]
"""
_BUILD = """

def build_pool(**options: Any) -> Pool: ...
def define(pool: WorkerProcedureCall) -> None: ...
"""
_WPC = """

wpc: Pool
"""


def _joined(imports: Iterable[str]) -> list[str]:
    """Return imports with one line for all that come from one module.

    Examples
    --------
    >>> _joined(["from a import y", "import re", "from a import x as z"])
    ['from a import x as z, y', 'import re']
    """
    found: dict[str, set[str]] = {}
    for line in imports:
        before, _, name = line.partition(" import ")
        found.setdefault(before, set()).update([name] if name else [])
    return sorted(
        f"{before} import {', '.join(sorted(of))}" if of else before for before, of in found.items()
    )


def _node(record: Record) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
    """Return the syntax tree of a function; None if it is not known what it takes."""
    try:
        body = ast.parse(record.about.source).body
    except (SyntaxError, ValueError, RecursionError):
        return None
    if not body or not isinstance(node := body[-1], ast.FunctionDef | ast.AsyncFunctionDef):
        return None
    if record.about.has_exact_signature:
        return node
    if not {last_name(each) for each in node.decorator_list} <= _KEEP_SIGNATURE:
        return None
    plain = copy.copy(node)
    plain.decorator_list = []
    cell = record.cell.wire.source if record.cell is not None else ""
    return node if is_exact(node.name, ast.unparse(plain), cell) else None


def _shared_names(records: Iterable[Record]) -> dict[str, ast.stmt]:
    """Return what every cell knows: the names of the setup, and above them the dependencies."""
    found: dict[str, ast.stmt] = {}
    for record in records:
        if record.kind is Kind.SETUP:
            found.update(names_of_text(record.about.source))
    for record in records:
        if record.kind is Kind.DEPENDENCY:
            found[record.name] = _import_of(record.about)
    return found


def _import_of(about: Any) -> ast.stmt:
    module = about.module_specifier
    export = module.rpartition(".")[2] if about.is_default_export else about.export_name
    if export is None:
        return ast.Import([ast.alias(module, about.alias if about.alias != module else None)])
    return ast.ImportFrom(module, [ast.alias(export, about.alias if about.alias != export else None)], 0)


def _definer(record: Record, shared: Mapping[str, ast.stmt]) -> Definer:
    """Return what knows the names in the annotations of a function."""
    if record.cell is not None:
        return {**shared, **names_of_text(record.cell.wire.source)}.get
    if record.wire.how == "module":
        module = record.wire.payload.decode()
        return lambda name: None if hasattr(builtins, name) else ast.ImportFrom(module, [ast.alias(name)], 0)
    return shared.get
