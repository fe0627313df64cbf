"""What the workers of an executor call before their first call, as it is sent to them."""

from __future__ import annotations

import copyreg
import fcntl
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ..wire.codec import encode_whole
from ..worker.inherited import OpenedAgain, set_own_lock

__all__ = ["initializer_payload"]


def initializer_payload(initializer: Callable[..., object], initargs: tuple[Any, ...]) -> bytes:
    """Return an initializer with its arguments, pickled.

    Queues and locks of `multiprocessing` may be among the arguments if they are of the context ``"spawn"``
    or ``"forkserver"``: those of ``"fork"`` have no name by which another process could open them.

    Raises
    ------
    Exception
        What pickling raises.
    """
    if _sets_lock_of_tqdm(initializer):
        return encode_whole((set_own_lock, (initializer,)))
    with _spawning():
        return encode_whole((initializer, initargs))


def _sets_lock_of_tqdm(initializer: Any) -> bool:
    """Return whether it is ``tqdm.set_lock``, given a lock of ``"fork"``, for what workers print.

    That goes through the pool, which keeps it apart, so a lock of each worker's own will do.
    """
    owner = getattr(initializer, "__self__", None)
    return (
        getattr(initializer, "__name__", "") == "set_lock"
        and isinstance(owner, type)
        and owner.__module__.partition(".")[0] == "tqdm"
    )


class _Starting:
    """Stands for a process that is being started."""

    def duplicate_for_child(self, fd: int) -> int:
        return fd

    def DupFd(self, fd: int) -> OpenedAgain:  # as `multiprocessing` calls it
        return OpenedAgain(os.getpid(), fd, fcntl.fcntl(fd, fcntl.F_GETFL))


@contextmanager
def _spawning() -> Iterator[None]:
    """Let what processes inherit be pickled: it asks whether a process is being started."""
    context = sys.modules.get("multiprocessing.context")
    if context is None:
        yield
        return
    from multiprocessing.reduction import ForkingPickler

    reducers: dict[Any, Any] = ForkingPickler._extra_reducers  # type: ignore[attr-defined]
    added = {kind: reduce for kind, reduce in reducers.items() if kind not in copyreg.dispatch_table}
    before = context.get_spawning_popen()
    context.set_spawning_popen(before or _Starting())
    copyreg.dispatch_table.update(added)
    try:
        yield
    finally:
        context.set_spawning_popen(before)
        for kind in added:
            copyreg.dispatch_table.pop(kind, None)
