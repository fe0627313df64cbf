"""The status page: a few words of memory that a worker writes and the pool reads without asking.

It costs no message, outlives the worker, and so tells what a worker was doing when it died.
"""

from __future__ import annotations

import mmap
import os

from wpc_magic.pool.wire.nameless import nameless_file

__all__ = ["ANSWERED", "BEGUN", "DUMPS", "PEAK", "SINCE", "StatusPage"]

BEGUN = 0  # the number of the call that was begun last
SINCE = 1  # when its function's first instruction ran, monotonic nanoseconds; 0: not yet
ANSWERED = 2  # the number of the call that was answered last
DUMPS = 3  # 1: the signal of `dump` is understood; before, it would end the process
PEAK = 4  # the most memory that the process has had, in bytes, when it was asked last; 0: not known

_SIZE = mmap.PAGESIZE
_NAME = 1024  # where a name begins, behind the words: its length, and its text
_LONGEST = 1024  # bytes


class StatusPage:
    """One page of shared memory, as 8-byte words.

    A word never tears, but two that are read one after another may belong to different moments; `running`
    reads `BEGUN` again to be sure.

    Parameters
    ----------
    fd : int, optional
        The descriptor that the pool passed on; without one, a new page is made. It has no name, so it
        cannot be left behind.
    """

    def __init__(self, fd: int | None = None) -> None:
        self.fd = nameless_file(_SIZE, "wpc-page") if fd is None else fd
        self._map = mmap.mmap(self.fd, _SIZE)
        self.words = memoryview(self._map).cast("Q")

    def running(self) -> tuple[int, int]:
        """Return the number of the call begun last, and since when (0: not at its first instruction yet)."""
        words = self.words
        while True:
            begun, since = words[BEGUN], words[SINCE]
            if words[BEGUN] == begun:
                return begun, since

    def note_installing(self, name: str) -> None:
        """Write down which definition is being installed."""
        text = name.encode()[:_LONGEST]
        self._map[_NAME : _NAME + 2] = b"\0\0"  # so that none is half one and half the other
        self._map[_NAME + 2 : _NAME + 2 + len(text)] = text
        self._map[_NAME : _NAME + 2] = len(text).to_bytes(2, "little")

    def installing(self) -> str:
        """Return which definition is being installed, or was last."""
        size = min(int.from_bytes(self._map[_NAME : _NAME + 2], "little"), _LONGEST)
        return self._map[_NAME + 2 : _NAME + 2 + size].decode(errors="replace")

    def close_fd(self) -> None:
        """Close the descriptor; the memory stays mapped."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def close(self) -> None:
        """Unmap the page."""
        self.close_fd()
        self.words.release()
        self._map.close()
