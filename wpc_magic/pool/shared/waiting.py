"""Waiting for a word of shared memory to change, and waking those who do.

Nothing depends on being woken: whoever waits looks again at least every 50 ms, since a process may die before
it wakes the others.
"""

from __future__ import annotations

import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Deadline", "Signal", "wait"]

_SLICE_S = 0.05
_POLL_S = 0.002  # where the system cannot wait for a word
_MASK = 0xFFFFFFFF
_WAIT, _WAKE = 0, 1  # <linux/futex.h>
_ALL = (1 << 31) - 1
_NUMBERS = {"x86_64": 202, "aarch64": 98, "riscv64": 98, "ppc64le": 221}
"""The number of the system call, by machine; all of these store the lower half of a word first."""

_futex: Any = None


class Deadline:
    """When a wait ends.

    Parameters
    ----------
    timeout : float or None
        In seconds; None: never.
    """

    def __init__(self, timeout: float | None) -> None:
        self._at = None if timeout is None else time.monotonic() + timeout

    @property
    def has_passed(self) -> bool:
        """Whether it has."""
        return self._at is not None and time.monotonic() >= self._at

    def slice_s(self, longest: float = _SLICE_S) -> float:
        """Return how long to wait at a time, in seconds."""
        return longest if self._at is None else max(0.0, min(longest, self._at - time.monotonic()))


class Signal:
    """Two words by which processes wait for each other.

    Parameters
    ----------
    words : memoryview
        The words.
    turn : int
        The number of the first of them.
    """

    def __init__(self, words: memoryview, turn: int) -> None:
        self._words = words
        self._turn = turn

    def ready(self) -> int:
        """Announce a wait, and return what to wait with: between the two, look once more."""
        turn: int = self._words[self._turn] & _MASK
        self._words[self._turn + 1] = 1
        return turn

    def wait(self, turn: int, deadline: Deadline) -> None:
        """Return when there was a change since `ready`, or after a while."""
        wait(self._words[self._turn : self._turn + 1], turn, deadline.slice_s())

    def notify(self) -> None:
        """Wake all who wait."""
        words, turn = self._words, self._turn
        # No counter: several processes may be here at once.
        words[turn] = (words[turn] + 1 + time.monotonic_ns()) & _MASK
        if words[turn + 1]:
            words[turn + 1] = 0
            futex = _load_futex()
            if futex:  # else they look again by themselves
                futex(*_arguments(words[turn : turn + 1], _WAKE, _ALL, 0.0))


def wait(word: memoryview, value: int, timeout_s: float) -> None:
    """Wait until a word may have another value.

    A call that is to end is interrupted in this function, and nowhere else in this package (`Interruption`).
    """
    futex = _load_futex()
    if futex:
        futex(*_arguments(word, _WAIT, value, timeout_s))
    else:
        time.sleep(min(timeout_s, _POLL_S))


def _load_futex() -> Any:
    """Return the C library's `syscall`; False: this system does not have what we need."""
    global _futex
    if _futex is None:
        _futex = False
        if sys.platform == "linux" and sys.byteorder == "little" and os.uname().machine in _NUMBERS:
            import ctypes

            _futex = ctypes.CDLL(None).syscall
            _futex.restype = ctypes.c_long
    return _futex


def _arguments(word: memoryview, operation: int, value: int, timeout_s: float) -> tuple[Any, ...]:
    import ctypes

    number = ctypes.c_long(_NUMBERS[os.uname().machine])
    at = ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(word)))
    seconds = int(timeout_s)
    limit = (ctypes.c_long * 2)(seconds, int((timeout_s - seconds) * 1e9))
    return number, at, ctypes.c_int(operation), ctypes.c_uint(value), limit, None, ctypes.c_uint(0)
