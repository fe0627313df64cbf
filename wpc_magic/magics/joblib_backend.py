"""The kernel's pool as the one that joblib uses, as soon as something imports joblib."""

from __future__ import annotations

import sys
import weakref
from typing import Any

from wpc_magic.pool.api import WorkerProcedureCall
from wpc_magic.pool.worker.import_hooks import when_imported

__all__ = ["JoblibBackend"]


class JoblibBackend:
    """Registers the backend ``"wpc"`` for a pool; joblib is not imported for it.

    Parameters
    ----------
    pool : WorkerProcedureCall
        The pool.
    """

    def __init__(self, pool: WorkerProcedureCall) -> None:
        self._pool = weakref.ref(pool)
        self._is_installed = False

    def install(self) -> None:
        """Register the backend, now or when joblib is imported."""
        self._is_installed = True
        when_imported("joblib.parallel", self._register)

    def _register(self, _: object) -> None:
        pool = self._pool()
        if pool is not None and self._is_installed:
            from wpc_magic.joblib import use

            use(pool)

    def uninstall(self) -> None:
        """Have joblib use this pool no longer."""
        self._is_installed = False
        backend: Any = sys.modules.get("wpc_magic.joblib")
        if backend is not None:
            backend.use(None)
