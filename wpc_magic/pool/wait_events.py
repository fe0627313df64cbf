"""How ``concurrent.futures.wait`` and ``as_completed`` wait for the futures of calls."""

from __future__ import annotations

from typing import Any
from weakref import ref

from .future_driver import FutureDriver
from .interrupts.locks import SignalSafeEvent

__all__ = ["WaitEvent", "Waiters"]


class Waiters(list[Any]):
    """The waiters of ``concurrent.futures.wait`` and ``as_completed``, notified when the future ends."""

    def __init__(self, future: Any, driver: FutureDriver) -> None:
        self._future = ref(future)
        self._driver = driver

    def append(self, waiter: Any) -> None:
        """Add a waiter; its event becomes one that can be looked at, and woken, while it is waited for."""
        if not isinstance(waiter.event, SignalSafeEvent):  # no thread waits for it yet
            waiter.event = WaitEvent(self._driver)
        if isinstance(waiter.event, WaitEvent):
            waiter.event.futures.append(self._future)
            if waiter.event.driver is not self._driver:  # the thread that waits cannot read its answers
                self._driver.ensure_polled()
        super().append(waiter)


class WaitEvent(SignalSafeEvent):
    """The event at which ``concurrent.futures.wait`` and ``as_completed`` wait for several futures.

    Attributes
    ----------
    futures : list of weakref
        The futures.
    driver : FutureDriver
        That of the pool whose answers the waiting thread may read itself.
    links : list or None
        Where it does so; opaque here.
    """

    call = None  # it reads a channel for more than one, unlike a future
    wakers = ()  # it is woken by itself

    def __init__(self, driver: FutureDriver) -> None:
        super().__init__()
        self.futures: list[ref[Any]] = []
        self.driver = driver
        self.links: Any = None

    def is_of(self, future: Any) -> bool:
        """Whether a future is of the pool whose answers the waiting thread may read."""
        return future._driver is self.driver

    def is_over(self) -> bool:
        """Whether all of the futures have ended."""
        return all(future is None or future.ended for future in (each() for each in self.futures))

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set, at most for the timeout in seconds; return whether it is set."""
        wait, observer = self.driver.wait_for_event, self.driver.observer
        if observer is None:
            return wait(self, timeout)
        left = float("inf") if timeout is None else timeout
        try:
            while not self.is_set():
                pause = observer.pause_s(self)
                if wait(self, min(left, pause)) or left <= pause:
                    break
                left -= pause
                observer.look(self)
        finally:
            observer.left(self)
        return self.is_set()

    def wait_for_set(self, timeout: float | None) -> bool:
        """Wait as `wait` does, while other threads read the answers."""
        return super().wait(timeout)
