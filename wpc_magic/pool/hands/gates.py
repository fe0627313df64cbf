"""Waiting until something about the pool holds, in a thread or in an event loop."""

from __future__ import annotations

import threading
import time
from _thread import allocate_lock
from collections.abc import Callable
from typing import Any

from ..interrupts import Interrupts

__all__ = ["LONGEST_S", "Gates", "moment", "time_left"]

LONGEST_S = 1_000_000.0
"""Who waits for more than eleven days waits for ever: the system's calls take no times of any length."""


class Gates:
    """Those who wait for a change. Each has a gate of its own, which the next change opens.

    A gate is a bare lock and not a condition: its `acquire` is one step, which an interrupt cannot tear.

    Parameters
    ----------
    lock : threading.Lock
        Under which things change.
    applied : callable
        Called under the lock when what was waited for holds: to do what the question may have brought about.

    Attributes
    ----------
    closed : list
        The gates.
    """

    def __init__(self, lock: threading.Lock, applied: Callable[[], object]) -> None:
        self.lock = lock
        self._applied = applied
        self.closed: list[Any] = []
        self._refusal: Exception | None = None

    def refuse(self, error: Exception) -> None:
        """Let nobody wait any more, now and later: what does not hold by now never will. Under the lock."""
        self._refusal = error
        self.open()

    def open(self) -> None:
        """Have everybody ask again: something has changed. Under the lock."""
        gates, self.closed = self.closed, []
        for gate in gates:
            gate.release()

    def wait_for(self, ready: Callable[[], Any], timeout: float | None = None) -> bool:
        """Wait until `ready`, which is asked under the lock whenever something has changed.

        Parameters
        ----------
        ready : callable
            The question.
        timeout : float, optional
            How long, in seconds.

        Returns
        -------
        bool
            Whether it was, before the time was over.
        """
        deadline = moment(timeout)
        with Interrupts() as interrupts:
            while True:
                with self.lock:
                    if ready():
                        self._applied()
                        return True
                    if self._refusal is not None:
                        raise self._refusal.with_traceback(None)
                    gate = allocate_lock()
                    gate.acquire()
                    self.closed.append(gate)
                if not interrupts.wait(gate.acquire, True, time_left(deadline)):
                    return False

    async def wait_for_async(self, ready: Callable[[], Any], timeout: float | None = None) -> bool:
        """Wait as `wait_for` does, and let the event loop run meanwhile."""
        import asyncio

        loop = asyncio.get_running_loop()
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            with Interrupts(), self.lock:
                if ready():
                    self._applied()
                    return True
                if self._refusal is not None:
                    raise self._refusal.with_traceback(None)
                gate = _LoopGate(loop)
                self.closed.append(gate)
            left = None if deadline is None else time_left(deadline)
            if not (await asyncio.wait([gate.opened], timeout=left))[0]:
                return False


class _LoopGate:
    def __init__(self, loop: Any) -> None:
        self._loop = loop
        self.opened = loop.create_future()

    def release(self) -> None:
        try:
            self._loop.call_soon_threadsafe(lambda: self.opened.done() or self.opened.set_result(None))
        except RuntimeError:  # the loop is closed: nobody waits
            pass


def moment(timeout: float | None) -> float | None:
    """Return when a time is over that begins now, in seconds; None: never."""
    return None if timeout is None or timeout > LONGEST_S else time.monotonic() + timeout


def time_left(deadline: float | None) -> float:
    """Return how long there is until a moment, in seconds; -1: for ever, as locks take it."""
    return -1 if deadline is None else max(0.0, deadline - time.monotonic())
