"""The key by which processes of `multiprocessing` know each other.

A proxy of a manager (``Manager().Queue()``) that is sent to a worker connects to the manager with it.
`multiprocessing` takes several times as long to load as the rest of a worker: the key waits for its import.
"""

from __future__ import annotations

from wpc_magic.pool.worker.import_hooks import when_imported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["take_over_authkey"]


def take_over_authkey(key: bytes) -> None:
    """Make a key that of this process, now or when `multiprocessing` is imported; empty: keep its own."""
    if not key:
        return

    def set_key(module: Any) -> None:
        module.current_process().authkey = key

    when_imported("multiprocessing.process", set_key)
