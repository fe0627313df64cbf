"""Looks at a word of a status page, for some microseconds, before a thread sleeps.

A look only tells when to read a socket: what it sees, or misses, changes nothing else. So it does not matter
in which order a processor shows the word and what the socket holds: at worst the read finds nothing, and
waits.

Python code that looks keeps the lock of the interpreter. Other threads wait for it no longer than a look
takes, which is a hundredth of the time that Python itself lets a thread keep it.
"""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Looks", "sees"]

_LONGEST_PAUSE = 1 << 12


def sees(words: Any, index: int, value: int, limit_ns: int) -> bool:
    """Look at a word until it has a value; return whether it had it within a limit, in nanoseconds.

    If this thread did not run meanwhile, that is too late, whatever the word is then.

    Examples
    --------
    >>> sees([3, 4], 1, 4, 10**12), sees([3, 4], 1, 5, 1_000)
    (True, False)
    """
    clock = time.monotonic_ns
    until = clock() + limit_ns
    while words[index] != value:
        if clock() > until:
            return False
    return clock() <= until


class Looks:
    """The looks of a worker for its next call: after one in vain it makes none for a while, each time longer.

    Examples
    --------
    >>> looks, words = Looks(), [3]
    >>> looks.before_read(words, 0, 4, 1_000), looks.pause
    (True, 1)
    >>> looks.before_read(words, 0, 4, 1_000), looks.before_read(words, 0, 4, 1_000), looks.pause
    (False, True, 3)
    """

    __slots__ = ("_left_out", "pause")

    def __init__(self) -> None:
        self.pause = 0  # how many are left out after the last one
        self._left_out = 0

    def before_read(self, words: Any, index: int, value: int, limit_ns: int) -> bool:
        """Look, unless there is a pause; return whether it did."""
        if self._left_out:
            self._left_out -= 1
            return False
        if sees(words, index, value, limit_ns):
            self.pause = 0
        else:
            self.pause = self._left_out = min(2 * self.pause + 1, _LONGEST_PAUSE)
        return True
