"""Waiting in the ways of the standard library, which an interrupt does not tear.

The locks of `threading.Condition` and `threading.Event` stay locked where SIGINT raises just after they were
taken. Whoever ends a future would then wait for ever, with the pool's lock in its hands.
"""

from __future__ import annotations

import threading
from _thread import allocate_lock
from typing import Any

from .interrupts import free, hold, in_main_thread

__all__ = ["QuietEvent", "QuietLock"]


class QuietLock:
    """A lock that can be taken again by who has it; while the main thread has one, SIGINT is held back.

    ``concurrent.futures.wait`` takes the locks of all its futures one after another. An interrupt in the
    middle would leave some of them locked.
    """

    __slots__ = ("_lock",)

    _depth = 0  # how many of these the main thread has; they are not released in the order of their taking
    _handler: Any = None

    def __init__(self) -> None:
        self._lock = threading.RLock()

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take the lock; see `threading.Lock.acquire`."""
        if not in_main_thread():
            return self._lock.acquire(blocking, timeout)
        handler = hold()
        if not QuietLock._depth:
            QuietLock._handler = handler
        QuietLock._depth += 1
        taken = False
        try:
            taken = self._lock.acquire(blocking, timeout)
        finally:
            if not taken:
                self._let_through()
        return taken

    def release(self) -> None:
        """Release the lock; with the last one, SIGINT comes through."""
        self._lock.release()
        if in_main_thread():
            self._let_through()

    @staticmethod
    def _let_through() -> None:
        QuietLock._depth -= 1
        if not QuietLock._depth:
            handler, QuietLock._handler = QuietLock._handler, None
            free(handler)

    def _is_owned(self) -> bool:  # conditions ask this of a lock
        return self._lock._is_owned()  # type: ignore[attr-defined, no-any-return]

    def __enter__(self) -> QuietLock:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


class QuietEvent:
    """A `threading.Event` of bare locks, each of which is taken in one step.

    Examples
    --------
    >>> event = QuietEvent()
    >>> event.wait(0)
    False
    >>> event.set(); event.wait()
    True
    """

    def __init__(self) -> None:
        self._flag = False
        self._gates: list[Any] = []

    def is_set(self) -> bool:
        """Return whether it is set."""
        return self._flag

    def set(self) -> None:
        """Let everybody go on who waits, or will."""
        self._flag = True  # first: who adds a gate too late for the next line looks at it
        gates, self._gates = self._gates, []
        for gate in gates:
            gate.release()

    def clear(self) -> None:
        """Have those wait who come from now on."""
        self._flag = False

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set, or for so many seconds; return whether it is."""
        gate = allocate_lock()
        gate.acquire()
        self._gates.append(gate)
        return self._flag or gate.acquire(True, -1 if timeout is None else max(0.0, timeout)) or self._flag
