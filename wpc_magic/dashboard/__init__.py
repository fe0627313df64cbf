"""The live dashboard of a pool; nothing of it is loaded before it is asked for."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .table import Table
    from .text import Still
    from .widget import Dashboard

__all__ = ["Dashboard", "Still", "Table", "open_dashboard"]

_HOMES = {"Dashboard": "widget", "Still": "text", "Table": "table"}


def open_dashboard(pool: Any) -> Dashboard | Still:
    """Show a pool: live in a notebook, as a table of text elsewhere.

    Parameters
    ----------
    pool : WorkerProcedureCall
        The pool; it is not kept alive by its dashboard.

    Returns
    -------
    Dashboard or Still
        A widget in a kernel, the same one for the same pool as long as it is open; without a kernel, a
        picture of this moment that a terminal prints.
    """
    if not _in_kernel():
        from .text import take_still

        return take_still(pool)
    from .widget import Dashboard

    return Dashboard.of(pool)


def _in_kernel() -> bool:
    # A shell without a kernel has nobody who could show a widget; and no shell at all is a script.
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
