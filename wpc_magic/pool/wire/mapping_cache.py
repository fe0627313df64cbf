"""A receiver's cache of mappings: mapping a block again costs a page fault for every few pages."""

from __future__ import annotations

import os
import time
from _thread import allocate_lock

from wpc_magic.pool.wire.native import map_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wpc_magic.pool.wire.native import Memory

__all__ = ["MappingCache"]

_MAX_ENTRIES = 16


class MappingCache:
    """Shared mappings by the file that they map. All methods are thread-safe."""

    def __init__(self) -> None:
        self._entries: dict[tuple[int, int], tuple[Memory, float]] = {}  # with the time of the last use
        self._lock = allocate_lock()

    def __len__(self) -> int:
        return len(self._entries)

    def map(self, fd: int, size: int) -> Memory:
        """Return the memory of a file, writable.

        Parameters
        ----------
        fd : int
            Its descriptor; it may be closed afterwards.
        size : int
            Its size, in bytes.
        """
        about = os.fstat(fd)
        key = about.st_dev, about.st_ino
        with self._lock:
            entry = self._entries.pop(key, None)
            memory = entry[0] if entry is not None and entry[0]._length_ == size else map_file(fd, size)
            self._entries[key] = memory, time.monotonic()  # the most recently used is last
            while len(self._entries) > _MAX_ENTRIES:
                self._entries.pop(next(iter(self._entries)), None)
        return memory

    def forget(self, memory: Memory) -> None:
        """Remove a mapping that is no longer shared, without the lock: a fork may interrupt its holder."""
        for key, entry in list(self._entries.items()):
            if entry[0] is memory:
                self._entries.pop(key, None)

    def after_fork(self) -> None:
        """Replace the lock, in a fork: another thread may have held the old one."""
        self._lock = allocate_lock()

    def trim(self, idle_s: float) -> None:
        """Evict mappings that have been unused for that long, in seconds; existing views stay valid."""
        before = time.monotonic() - idle_s
        with self._lock:
            for key, (_, used) in list(self._entries.items()):
                if used <= before:
                    self._entries.pop(key, None)
