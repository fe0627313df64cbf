"""Threads that wait until the pool takes another call (``saturation="wait"``)."""

from __future__ import annotations

import time
from _thread import allocate_lock
from collections import deque
from collections.abc import Callable
from typing import Any

from ..core.calls import Call
from ..core.dispatcher import Dispatcher
from ..futures import CallFuture
from ..interrupts.hold import HeldInterrupts, acquire
from .condition import PoolCondition
from .state_lock import StepInProgressError

__all__ = ["RoomQueue"]


class RoomQueue:
    """A queue of threads, of which as many are woken as there is room for their calls.

    If each answer woke all, each of 300 threads would look 300 times. So all of them together are one waiter
    of the pool's condition, whose `release` wakes those that find room.

    Parameters
    ----------
    condition : PoolCondition
        Says when something has changed.
    dispatcher : Dispatcher
        Takes the calls.
    applied : callable
        Called under the lock when a call was accepted: performs the effects.
    check : callable
        Raises if the pool cannot be used any more.
    unsettled : set of CallFuture
        Has the futures of calls that were made and have not ended.
    """

    def __init__(
        self,
        condition: PoolCondition,
        dispatcher: Dispatcher,
        applied: Callable[[], object],
        check: Callable[[], None],
        unsettled: set[CallFuture],
    ) -> None:
        self._condition = condition
        self._dispatcher = dispatcher
        self._applied = applied
        self._check = check
        self._unsettled = unsettled
        self._waiting: deque[Any] = deque()  # a locked lock for each thread
        self._woken = 0  # threads that were woken, and have not looked yet

    def submit(self, call: Call) -> None:
        """Make a call as soon as there is room; see `Dispatcher.submit` for what it raises."""
        was_woken = False
        if self._condition.lock.is_owned():
            raise StepInProgressError
        with HeldInterrupts() as interrupts:
            while True:
                with self._condition.lock:
                    self._woken -= was_woken
                    if self._try_to_submit(call):
                        return
                    waiter = allocate_lock()
                    waiter.acquire()
                    # Another thread, which did not wait, may have taken the place of one that was woken.
                    (self._waiting.appendleft if was_woken else self._waiting.append)(waiter)
                    self._register()
                try:
                    interrupts.wait(acquire, waiter)
                except BaseException:
                    with self._condition.lock:
                        if waiter in self._waiting:
                            self._waiting.remove(waiter)
                        else:
                            self._woken -= 1
                            self._wake()
                    raise
                was_woken = True

    def _try_to_submit(self, call: Call) -> bool:
        try:
            self._check()
            self._dispatcher.check(call.name)
            if not self._dispatcher.has_room():
                return False
            self._unsettled.add(call.future)
            self._dispatcher.submit(call, time.monotonic())
            self._applied()
        except BaseException:
            self._unsettled.discard(call.future)
            self._wake()  # there is room for another thread
            raise
        return True

    def release(self) -> None:
        """Wake as many threads as there is room: the condition calls this when something has changed."""
        self._wake()
        if self._waiting:
            self._register()

    def _register(self) -> None:
        if self not in self._condition.waiters:
            self._condition.waiters.append(self)

    def _wake(self) -> None:
        room = self._dispatcher.room()
        while self._waiting and self._woken < room:
            self._woken += 1
            self._waiting.popleft().release()
