"""A condition variable for the state of the pool, for threads and event loops."""

from __future__ import annotations

import time
from _thread import allocate_lock
from collections.abc import Callable
from typing import Any

from ..interrupts.hold import HeldInterrupts, acquire
from ..interrupts.stack import ensure_stack_room
from .state_lock import StateLock, StepInProgressError

__all__ = ["MAX_WAIT_S", "PoolCondition", "deadline_of", "time_left"]

MAX_WAIT_S = 1_000_000.0
"""Longer timeouts (more than eleven days) count as infinite: system calls do not take arbitrary timeouts."""


class PoolCondition:
    """A condition variable. Each waiting thread or task has its own waiter, which the next change releases.

    A waiter is a bare lock and not a `threading.Condition`: its `acquire` is one step, so a signal handler
    cannot raise halfway through it.

    Parameters
    ----------
    lock : StateLock
        The lock that protects the state.
    applied : callable
        Called under the lock when a predicate holds: performs the effects that the predicate may have had.

    Attributes
    ----------
    waiters : list
        The waiters that have not been released.
    """

    def __init__(self, lock: StateLock, applied: Callable[[], object]) -> None:
        self.lock = lock
        self._applied = applied
        self.waiters: list[Any] = []
        self._refusal: Exception | None = None

    def fail(self, error: Exception) -> None:
        """Raise `error` in all waiters, now and later, whose predicate does not hold. Under the lock."""
        self._refusal = error
        self.notify_all()

    def notify_all(self) -> None:
        """Notify all waiters: something has changed, so they test their predicates again. Under the lock."""
        waiters, self.waiters = self.waiters, []
        for waiter in waiters:
            waiter.release()

    def wait_for(
        self, ready: Callable[[], Any], timeout: float | None = None, *, failed: bool = False
    ) -> bool:
        """Wait until `ready` holds; it is evaluated under the lock after every change.

        Parameters
        ----------
        ready : callable
            The predicate.
        timeout : float, optional
            In seconds.
        failed : bool
            Whether to wait also in a pool that has failed.

        Returns
        -------
        bool
            False if the timeout expired.

        Raises
        ------
        StepInProgressError
            In a finalizer that interrupts a step of this pool.
        """
        deadline = deadline_of(timeout)
        ensure_stack_room()
        if self.lock.is_owned():
            raise StepInProgressError
        with HeldInterrupts() as interrupts:
            while True:
                with self.lock:
                    if self._holds(ready, failed):
                        return True
                    waiter = allocate_lock()
                    waiter.acquire()
                    self.waiters.append(waiter)
                if not interrupts.wait(acquire, waiter, time_left(deadline)):
                    return False

    async def wait_for_async(
        self, ready: Callable[[], Any], timeout: float | None = None, *, failed: bool = False
    ) -> bool:
        """Wait as `wait_for` does, without blocking the event loop."""
        import asyncio

        loop = asyncio.get_running_loop()
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            with self.lock:
                if self._holds(ready, failed):
                    return True
                waiter = _LoopWaiter(loop)
                self.waiters.append(waiter)
            left = None if deadline is None else time_left(deadline)
            if not (await asyncio.wait([waiter.released], timeout=left))[0]:
                return False

    def _holds(self, ready: Callable[[], Any], failed: bool) -> bool:
        if self.lock.torn is not None and self._refusal is None:
            return False  # the driver's thread is about to end everything
        if ready():
            self._applied()
            return True
        if self._refusal is not None and not failed:
            raise self._refusal.with_traceback(None)
        return False


class _LoopWaiter:
    def __init__(self, loop: Any) -> None:
        self._loop = loop
        self.released = loop.create_future()

    def release(self) -> None:
        try:
            self._loop.call_soon_threadsafe(lambda: self.released.done() or self.released.set_result(None))
        except RuntimeError:  # the loop is closed: no task is waiting
            pass


def deadline_of(timeout: float | None) -> float | None:
    """Return the deadline of a timeout that starts now, in seconds; None: no deadline."""
    return None if timeout is None or timeout > MAX_WAIT_S else time.monotonic() + timeout


def time_left(deadline: float | None) -> float:
    """Return the time until a deadline, in seconds; -1 (as locks take it) if there is none."""
    return -1 if deadline is None else max(0.0, deadline - time.monotonic())
