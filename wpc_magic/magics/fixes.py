"""Formats the fix for a missing name as a line of a magic."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wpc_magic.pool.source.missing import Fix

__all__ = ["magic_line"]


def magic_line(fix: Fix, pool_name: str = "wpc") -> str:
    """Return the line to type.

    Parameters
    ----------
    fix : Fix
        What is missing, as the analysis of a function found it.
    pool_name : str
        The name of the pool in the notebook.

    Returns
    -------
    str
        The line, or the explanation of the analysis if no line can fix it.
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
    if fix.kind == "functions":
        return f"{pool_name}.functions({fix.detail})"
    if fix.kind == "restart":
        return "%wpc_restart"
    if fix.kind == "upload":
        return f"%wpc_upload {fix.name}"
    return fix.detail
