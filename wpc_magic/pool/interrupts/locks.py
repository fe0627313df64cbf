"""Signal-safe versions of `threading.RLock` and `threading.Event`.

The locks of `threading.Condition` and `threading.Event` stay locked if a signal handler raises just after
they are acquired, or a finalizer waits for one. The thread that completes a future would then block forever
while it holds the pool's lock.
"""

from __future__ import annotations

import os
import threading
from _thread import allocate_lock, get_ident
from typing import Any

from .hold import acquire, hold, in_main_thread, restore

__all__ = ["SignalSafeEvent", "SignalSafeLock", "owns_signal_safe_lock"]

_owned: dict[int, int] = {}  # by thread: how many of the locks it owns, or waits for
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_owned.clear)


def owns_signal_safe_lock() -> bool:
    """Return whether this thread owns one of the locks; then what waits here is a finalizer.

    Whoever holds the lock of a pool's state waits for that of a future, to tell those who wait for it.
    """
    return get_ident() in _owned


class SignalSafeLock:
    """A reentrant lock; signal handlers are held back while the main thread owns one.

    ``concurrent.futures.wait`` acquires the locks of all its futures one after another, and releases them in
    any order. An interrupt in between would leave some of them locked.
    """

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.RLock()

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Acquire the lock; see `threading.Lock.acquire`."""
        held = hold()
        acquired = False
        ident = get_ident()
        _owned[ident] = _owned.get(ident, 0) + 1  # first: a finalizer may run as soon as it is acquired
        try:
            acquired = self._lock.acquire(blocking, timeout)
        finally:
            if not acquired:
                _disown(ident)
                restore(held)
        return acquired

    def release(self) -> None:
        """Release the lock; the last release puts the signal handlers back."""
        self._lock.release()
        _disown(get_ident())
        restore(in_main_thread())

    def _is_owned(self) -> bool:  # called by `threading.Condition`
        return self._lock._is_owned()  # type: ignore[attr-defined, no-any-return]

    def __enter__(self) -> SignalSafeLock:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def _disown(ident: int) -> None:
    count = _owned.get(ident, 0) - 1
    if count > 0:
        _owned[ident] = count
    else:
        _owned.pop(ident, None)


class SignalSafeEvent:
    """An event that is built from bare locks, which are acquired atomically.

    Examples
    --------
    >>> event = SignalSafeEvent()
    >>> event.wait(0)
    False
    >>> event.set(); event.wait()
    True
    """

    def __init__(self) -> None:
        self._flag = False
        self._waiters: list[Any] = []  # a locked lock for each, as in `threading.Condition`

    def is_set(self) -> bool:
        """Return whether it is set."""
        return self._flag

    def set(self) -> None:
        """Set the flag, and wake all waiters."""
        self._flag = True  # first: a waiter that is added after the next line checks it
        while self._waiters:
            try:
                waiter = self._waiters.pop()  # one by one: a finalizer may do the same meanwhile
            except IndexError:
                return
            waiter.release()

    def clear(self) -> None:
        """Reset the flag: later calls of `wait` block."""
        self._flag = False

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set, at most for the timeout in seconds; return whether it is set."""
        waiter = allocate_lock()
        waiter.acquire()
        self.add(waiter)
        if self._flag or acquire(waiter, -1 if timeout is None else max(0.0, timeout)):
            return True
        self.remove(waiter)
        return self._flag

    def add(self, waiter: Any) -> None:
        """Release a lock, or what has a `release` as well, when it is set; look at `is_set` after this."""
        self._waiters.append(waiter)

    def remove(self, waiter: Any) -> None:
        """Undo `add`, if it has not been set since."""
        try:
            self._waiters.remove(waiter)
        except ValueError:
            pass
