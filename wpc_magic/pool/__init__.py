"""A supervised pool of worker processes that run named functions; it knows no notebook.

>>> from wpc_magic.pool import WorkerProcedureCall
>>> with WorkerProcedureCall() as wpc:  # doctest: +SKIP
...     wpc.call.simulate(10).result()
"""

from __future__ import annotations

TYPE_CHECKING = False  # as `typing` has it, without the import: each worker would pay for it
if TYPE_CHECKING:
    from typing import Any

    from .api import WorkerProcedureCall
    from .futures import CallFuture
    from .mind.events import WorkerEvent
    from .mind.snapshot import PoolSnapshot
    from .options import CallOptions, PoolOptions

_WHERE = {
    "CallFuture": "futures",
    "CallOptions": "options",
    "PoolOptions": "options",
    "PoolSnapshot": "mind.snapshot",
    "WorkerEvent": "mind.events",
    "WorkerProcedureCall": "api",
}

__all__ = [
    "CallFuture",
    "CallOptions",
    "PoolOptions",
    "PoolSnapshot",
    "WorkerEvent",
    "WorkerProcedureCall",
]


def __getattr__(name: str) -> Any:
    where = _WHERE.get(name)
    if where is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{where}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
