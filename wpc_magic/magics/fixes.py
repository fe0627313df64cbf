"""How a mending line is written for someone who works with magics."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wpc_magic.pool.mind.analysis.missing import Fix

__all__ = ["magic_line"]


def magic_line(fix: Fix, pool_name: str = "wpc") -> str:
    """Return the line to type that mends `fix`.

    Parameters
    ----------
    fix : Fix
        What is missing, as the analysis of a function found it.
    pool_name : str
        The name of the pool in the notebook.

    Returns
    -------
    str
        The line; what the analysis says, where no line mends it.
    """
    if fix.kind == "dependency":
        module = fix.module or fix.name
        return f"%wpc_dep {module}" if module == fix.name else f"%wpc_dep {module} as {fix.name}"
    if fix.kind == "dependency_from":
        line = f"%wpc_dep from {fix.module} import {fix.export}"
        return line if fix.export == fix.name else f"{line} as {fix.name}"
    if fix.kind == "constant":
        return f"%wpc_const {fix.name}"
    if fix.kind == "function":
        return f"{pool_name}.function({fix.name})"
    return fix.detail
