"""The status page: shared memory that a worker writes its state to, and the pool reads at any time.

Two words are the other way round: by them the worker knows that there is a call to read; see `looks`.

It needs no messages, and it outlives the worker, so it shows what a worker was doing when it died.
"""

from __future__ import annotations

import mmap
import os

from wpc_magic.pool.wire.anonymous_file import anonymous_file, reserve
from wpc_magic.pool.wire.native import map_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "ANSWERED",
    "BEGUN",
    "DUMP_READY",
    "LOOK",
    "PEAK",
    "PID",
    "PREPARES",
    "RESIDENT",
    "SENT",
    "SINCE",
    "StatusPage",
]

BEGUN = 0  # the number of the call that began last
SINCE = 1  # when its function began to run, monotonic nanoseconds; 0: not yet
ANSWERED = 2  # the number of the call that was answered last
DUMP_READY = 3  # 1: `fault_dump.SIGNAL` is handled; before that, it would kill the process
PEAK = 4  # the peak memory of the process, in bytes, when it was last measured; 0: unknown
PID = 5  # its process id: that of a child of the process that the pool has started, if this is a script
RESIDENT = 6  # the memory of the process, in bytes, when it was last measured; 0: unknown
PREPARES = 7  # 1: it makes, checks or closes a resource, which has a time limit of its own

# The pool writes these, so they are in another cache line.
SENT = 8  # the number of the call that was sent last
LOOK = 9  # for how long the worker may look for the next call before it sleeps, in nanoseconds; 0: not at all

_WORDS = 8
_SIZE = mmap.PAGESIZE
_NAME = 1024  # offset of a name, which follows the words: its length and its text
_MAX_NAME = 1024  # bytes


class StatusPage:
    """One page of shared memory, as 8-byte words.

    Reading one word is atomic, but two words may have been written at different times; `running` reads
    `BEGUN` again to detect this.

    Parameters
    ----------
    fd : int, optional
        The descriptor that the pool passed to this process; without it, a new page is created, in an
        anonymous file, which cannot be left behind.
    """

    def __init__(self, fd: int | None = None) -> None:
        self.fd = anonymous_file(_SIZE, "wpc-page") if fd is None else fd
        try:
            if fd is None:
                reserve(self.fd, 0, _SIZE)
            self._bytes = memoryview(map_file(self.fd, _SIZE)).cast("B")
        except OSError:
            if fd is None:
                self.close_fd()
            raise
        self.words = self._bytes.cast("Q")

    def running(self) -> tuple[int, int]:
        """Return the number of the call that began last, and since when it runs (0: not yet)."""
        words = self.words
        while True:
            begun, since = words[BEGUN], words[SINCE]
            if words[BEGUN] == begun:
                return begun, since

    def resident(self) -> int:
        """Return the memory of the process when it was last measured, in bytes; 0: unknown."""
        return int(self.words[RESIDENT])

    def prepares(self) -> bool:
        """Return whether the worker makes, checks or closes a resource."""
        return bool(self.words[PREPARES])

    def copy(self) -> bytes:
        """Return all words of the worker, for a page of the same state elsewhere."""
        return bytes(self._bytes[: _WORDS * 8])

    def paste(self, words: Sequence[int], installing: str) -> None:
        """Show what another page shows.

        Parameters
        ----------
        words : sequence of int
            Its words, in order.
        installing : str
            Which definition is being installed there.
        """
        for number, word in enumerate(words):
            if self.words[number] != word:
                self.words[number] = word
        if installing != self.installing():
            self.note_installing(installing)

    def note_installing(self, name: str) -> None:
        """Record which definition is being installed."""
        text = name.encode()[:_MAX_NAME]
        self._bytes[_NAME : _NAME + 2] = b"\0\0"  # so that no reader gets a mix of two names
        self._bytes[_NAME + 2 : _NAME + 2 + len(text)] = text
        self._bytes[_NAME : _NAME + 2] = len(text).to_bytes(2, "little")

    def installing(self) -> str:
        """Return which definition is being installed, or was installed last."""
        size = min(int.from_bytes(self._bytes[_NAME : _NAME + 2], "little"), _MAX_NAME)
        return bytes(self._bytes[_NAME + 2 : _NAME + 2 + size]).decode(errors="replace")

    def close_fd(self) -> None:
        """Close the descriptor; the memory stays mapped."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def close(self) -> None:
        """Unmap the page."""
        self.close_fd()
        self.words.release()
        self._bytes.release()
