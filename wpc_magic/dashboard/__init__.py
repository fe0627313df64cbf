"""The live dashboard of a pool; its modules are imported lazily."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .static_view import StaticView
    from .table import Table
    from .widget import Dashboard

__all__ = ["Dashboard", "StaticView", "Table", "open_dashboard"]

_MODULES = {"Dashboard": "widget", "StaticView": "static_view", "Table": "table"}


def open_dashboard(pool: Any) -> Dashboard | StaticView:
    """Show a pool: live in a notebook, as a plain-text table elsewhere.

    Parameters
    ----------
    pool : WorkerProcedureCall
        The pool; it is not kept alive by its dashboard.

    Returns
    -------
    Dashboard or StaticView
        A widget in a kernel, the same one for the same pool as long as it is open; without a kernel, a
        static view of the current state that a terminal prints.
    """
    if not _in_kernel():
        from .static_view import take_static_view

        return take_static_view(pool)
    from .widget import Dashboard

    return Dashboard.of(pool)


def _in_kernel() -> bool:
    # A shell without a kernel has no front end for a widget; no shell at all means a script.
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        from importlib import import_module

        return getattr(import_module(f".{_MODULES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
