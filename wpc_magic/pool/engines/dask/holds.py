"""The task that takes a thread of a Dask worker for a slot: Dask places it, and with it the slot.

It travels as this text, to machines that need not have the package. The scheduler reads it, too, once for
each slot, so it is short.
"""

from __future__ import annotations

from typing import Any

__all__ = ["SLOTS", "hold"]

_REBUILD = "(exec(source, made := {'__name__': 'wpc_hold'}), made['hold'](pool, token, source))[1]"
SLOTS = "wpc-slot"
"""What the key of each such task begins with."""


def hold(pool: str, token: str, source: str) -> Any:
    """Return the task.

    Parameters
    ----------
    pool : str
        What the pool is called on the cluster.
    token : str
        What the task is known by.
    source : str
        That of this module.
    """

    class Hold:
        __name__ = "wpc_slot"

        def __reduce__(self) -> tuple[Any, ...]:
            return eval, (_REBUILD, {"source": source, "pool": pool, "token": token})

        def __call__(self) -> None:
            from distributed import get_worker

            get_worker().plugins[f"wpc-{pool}"].agent.hold(token)

    return Hold()
