"""A supervised pool of worker processes that run named functions; independent of notebooks.

>>> from wpc_magic.pool import WorkerProcedureCall
>>> with WorkerProcedureCall() as wpc:  # doctest: +SKIP
...     wpc.call.simulate(10).result()
"""

from __future__ import annotations

TYPE_CHECKING = False  # as in `typing`, without the import, which each worker would pay for
if TYPE_CHECKING:
    from typing import Any

    from .api import WorkerProcedureCall
    from .caching.results import NotCachedWarning
    from .core.events import WorkerEvent
    from .core.snapshot import PoolSnapshot
    from .executors.executor import WpcExecutor
    from .futures import CallFuture
    from .options import CallOptions, PoolOptions
    from .streams import ResultStream

_MODULES = {
    "CallFuture": "futures",
    "CallOptions": "options",
    "NotCachedWarning": "caching.results",
    "PoolOptions": "options",
    "PoolSnapshot": "core.snapshot",
    "ResultStream": "streams",
    "WorkerEvent": "core.events",
    "WorkerProcedureCall": "api",
    "WpcExecutor": "executors.executor",
}

__all__ = [
    "CallFuture",
    "CallOptions",
    "NotCachedWarning",
    "PoolOptions",
    "PoolSnapshot",
    "ResultStream",
    "WorkerEvent",
    "WorkerProcedureCall",
    "WpcExecutor",
]


def __getattr__(name: str) -> Any:
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{module}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
