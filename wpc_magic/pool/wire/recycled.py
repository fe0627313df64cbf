"""Private memory that is used again when nobody looks at it any more.

Memory that a process has touched before can be written several times as fast as new memory, of which each
page has to be had by a fault.
"""

from __future__ import annotations

import mmap
import time
from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Recycler"]

_MOST_FREE = 4  # pieces of memory that wait to be used again


class Recycler:
    """Lends memory. Any thread may call any method."""

    def __init__(self) -> None:
        self._free: deque[tuple[float, mmap.mmap]] = deque()  # with when each became free; the latest last
        self._kinds: dict[int, Any] = {}

    def lend(self, size: int) -> memoryview:
        """Return `size` bytes that can be written to; they come back when the last view of them is gone."""
        for entry in list(self._free):
            if size <= len(entry[1]) <= 2 * size:
                try:
                    self._free.remove(entry)
                except ValueError:  # another thread was faster
                    continue
                memory = entry[1]
                break
        else:
            memory = mmap.mmap(-1, -(-size // mmap.PAGESIZE) * mmap.PAGESIZE)
        lent = self._kind(len(memory)).from_buffer(memory)
        lent.back = self._back, memory
        return memoryview(lent).cast("B")[:size]

    def _back(self, memory: mmap.mmap) -> None:
        self._free.append((time.monotonic(), memory))
        while len(self._free) > _MOST_FREE:
            self._free.popleft()

    def trim(self, idle_s: float) -> None:
        """Give back what has been free for that long, in seconds."""
        before = time.monotonic() - idle_s
        while self._free and self._free[0][0] <= before:
            self._free.popleft()

    def _kind(self, size: int) -> Any:
        kind = self._kinds.get(size)
        if kind is None:
            kind = self._kinds[size] = _array_type(size)
        return kind


def _array_type(size: int) -> Any:
    """Return a type whose instances lie on somebody's memory, and tell when they are gone.

    Only an object that exports a buffer itself can tell: arrays hold it, and not the views between.
    """
    import _ctypes  # `ctypes` is a layer over it that takes ten times as long to load

    class Byte(_ctypes._SimpleCData):  # type: ignore[type-arg]
        _type_ = "B"

    class Lent(_ctypes.Array):  # type: ignore[type-arg]
        _type_ = Byte
        _length_ = size
        back: Any = None

        def __del__(self) -> None:
            if self.back is not None:
                give_back, memory = self.back
                give_back(memory)

    return Lent
