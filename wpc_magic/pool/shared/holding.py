"""What the calls of this process hold: so that a lock is free when the call that took it has ended.

In a worker, `calls` is set to what knows the calls (`worker/shared_objects.py`). In the program itself there
are none: there a lock is held until it is released.
"""

from __future__ import annotations

import itertools
import os
import sys
from _thread import get_ident

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from typing import Any, Protocol

    from wpc_magic.pool.shared.region import Region

    class Calls(Protocol):
        """What knows the calls of a worker."""

        @property
        def worker_id(self) -> int:
            """The slot of this worker."""

        def current(self) -> int:
            """Return the call whose code runs in this thread; 0: none."""

        def first_hold(self) -> None:
            """Is told that a lock is held from now on: `release_of` is to be called when a call has ended."""


__all__ = ["HELD", "Hold", "Unheld", "holds_of", "me", "set_calls", "set_guard", "the"]


class Unheld:
    """Holds no signal handlers back: in a worker, none raises in this package."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass


class _OfProcess:
    """What differs between the program and a worker."""

    calls: Calls | None = None
    guard: Callable[[], AbstractContextManager[Any]] = Unheld


the = _OfProcess()


def set_calls(calls: Calls) -> None:
    """Set what knows the calls of this process."""
    the.calls = calls


def set_guard(guard: Callable[[], AbstractContextManager[Any]]) -> None:
    """Set what keeps signal handlers from raising while a lock changes hands."""
    the.guard = guard


_numbers = itertools.count(1)


class Hold:
    """One hold of a lock.

    Parameters
    ----------
    owner : object
        Who holds it: a task of asyncio, or the number of a thread.

    Attributes
    ----------
    thread : int
        The thread in which it was taken.
    call : int
        The call that has taken it; 0: none.
    depth : int
        How often it was taken.
    token : int
        What stands for it in shared memory; the process is in it.
    abandoned : str
        Where the holder before was, if that has ended without releasing; else empty.
    """

    __slots__ = ("abandoned", "call", "depth", "owner", "thread", "token")

    def __init__(self, owner: object) -> None:
        self.owner = owner
        self.thread = get_ident()
        calls = the.calls
        self.call = 0 if calls is None else calls.current()
        self.depth = 1
        self.token = os.getpid() << 32 | next(_numbers) & 0xFFFFFFFF
        self.abandoned = ""


HELD: set[Region] = set()
"""The regions whose lock this process holds."""


def me() -> object:
    """Return who runs now: the task of asyncio, or the thread."""
    events: Any = sys.modules.get("asyncio.events")
    if events is not None:
        loop = events._get_running_loop()
        if loop is not None:
            task = sys.modules["asyncio"].current_task(loop)
            if task is not None:
                return task
    return get_ident()


def holds_of(owner: object) -> list[Region]:
    """Return the regions whose lock somebody holds."""
    found = []
    for region in list(HELD):
        hold = region.holds.get(0)
        if hold is not None and hold.owner == owner:
            found.append(region)
    return found
