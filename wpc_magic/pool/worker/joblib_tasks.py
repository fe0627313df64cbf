"""What tasks of joblib find in a worker: the backend by its name, and what their initializer has set up."""

from __future__ import annotations

from wpc_magic.pool.wire.codec import decode
from wpc_magic.pool.worker.import_hooks import when_imported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["initialized", "is_in_worker", "name_backend", "to_initialize"]

_last = ""  # the key of the initializer that this process has called last
_is_in_worker = False


def name_backend() -> None:
    """Let tasks name the backend, as the program that has sent them does: this process is a worker."""
    global _is_in_worker
    _is_in_worker = True
    when_imported("joblib.parallel", _register)


def is_in_worker() -> bool:
    """Return whether this process is a worker, or was forked by one."""
    return _is_in_worker


def _register(parallel: Any) -> None:
    parallel.BACKENDS.setdefault("wpc", _backend)


def _backend(*args: Any, **kwargs: Any) -> Any:
    # As a task would import it that names it (no part of the pool uses what stands on it).
    # It registers itself.
    from importlib import import_module

    return import_module("wpc_magic.joblib").WpcBackend(*args, **kwargs)


def to_initialize(key: str, payload: bytes) -> Any:
    """Return the initializer of a task and its arguments; None: this process has called it.

    One that has been called before another one is called again: the other one may have changed what it set.
    """
    return None if key == _last else decode(payload)


def initialized(key: str) -> None:
    """Note that an initializer has been called."""
    global _last
    _last = key
