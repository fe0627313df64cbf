"""What `concurrent.futures.wait` leaves in a future: waiters that can be told, whatever has become of them.

Their `threading.Event` is made of locks that an interrupt may leave locked for ever, and an interrupted
``wait`` leaves its waiter where it is. Whoever then ended the future would hang with it. So they get an event
that nobody waits for in order to tell it.
"""

from __future__ import annotations

from _thread import allocate_lock
from typing import Any

__all__ = ["Waiters"]


class _Event:
    """As much of `threading.Event` as a waiter uses: one thread waits, others set."""

    def __init__(self) -> None:
        self._is_set = False
        self._gate = allocate_lock()
        self._gate.acquire()

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        self._is_set = True
        try:
            self._gate.release()
        except RuntimeError:  # it is open
            pass

    def clear(self) -> None:
        self._is_set = False
        self._gate.acquire(blocking=False)

    def wait(self, timeout: float | None = None) -> bool:
        if not self._is_set:
            self._gate.acquire(True, -1 if timeout is None else max(0.0, timeout))
        return self._is_set


class Waiters(list[Any]):
    """The waiters of one future, as ``concurrent.futures`` adds them."""

    def append(self, waiter: Any) -> None:
        """Add a waiter. All its futures are locked, so nobody has told it anything yet."""
        if type(waiter.event) is not _Event:
            waiter.event = _Event()
        super().append(waiter)
