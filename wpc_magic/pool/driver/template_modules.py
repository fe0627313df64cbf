"""What a template process is to import: what workers would import while they install the registry."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from functools import lru_cache

from ..core.registry import Kind, Record
from ..options import PRIVATE, SETUP

__all__ = ["leading_imports", "template_modules"]

_ONCE = f"{PRIVATE}cell_", f"{PRIVATE}test_"
"""How the names of functions begin that run once, and are no part of what a worker starts with."""


def template_modules(records: Iterable[Record]) -> tuple[str, ...]:
    """Return the names of modules, in the order of their import.

    The setup is run before anything else is imported. So where it does more than to import, only what it
    imports at its top is returned.

    Parameters
    ----------
    records : iterable of Record
        The definitions in force.
    """
    usable = [record for record in records if record.broken is None]
    found: dict[str, None] = {}
    for record in usable:
        if record.name == SETUP:
            names, is_all = leading_imports(record.wire.cell.source)
            found.update(dict.fromkeys(names))
            if not is_all:
                return tuple(found)
    for record in usable:
        if record.kind is Kind.DEPENDENCY:
            found[record.wire.module] = None
    for record in usable:
        if record.kind is Kind.FUNCTION and record.revision and not record.name.startswith(_ONCE):
            if record.cell is not None:
                found.update(dict.fromkeys(leading_imports(record.cell.wire.source)[0]))
            elif record.wire.how == "module":
                found[record.wire.payload.decode()] = None
    return tuple(found)


@lru_cache(maxsize=256)
def leading_imports(source: str) -> tuple[tuple[str, ...], bool]:
    r"""Return which modules a source imports before it does anything else, and whether it only imports.

    Examples
    --------
    >>> leading_imports("import a.b\nfrom c import d\n\ndef f():\n    import e")
    (('a.b', 'c'), False)
    >>> leading_imports("'Text.'\nimport a")
    (('a',), True)
    """
    found: list[str] = []
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.Import):
            found += [alias.name for alias in statement.names]
        elif isinstance(statement, ast.ImportFrom):
            if statement.module and statement.module != "__future__" and not statement.level:
                found.append(statement.module)
        elif not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)):
            return tuple(found), False
    return tuple(found), True
