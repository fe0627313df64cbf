"""The calls that workers have begun, for whoever looks at the pool."""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = ["RunningCall"]


class RunningCall(NamedTuple):
    """A call that a worker has begun, and that has not ended.

    Parameters
    ----------
    id : str
        Its id: ``"call-12"``.
    name : str
        The function's name.
    worker_id : int
        The slot whose process runs it.
    running_s : float
        For how long it has run, in seconds.
    items : int
        0 for a single call; else how many items this chunk of a map has.
    progress : Progress or None
        How far it says that it is.
    """

    id: str
    name: str
    worker_id: int
    running_s: float
    items: int = 0
    progress: Any = None
