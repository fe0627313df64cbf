"""Mappings of a receiver's that are kept: to map a block again costs a fault for every few pages."""

from __future__ import annotations

import mmap
import os
import time
from _thread import allocate_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["Mappings"]

_MOST = 16  # that are kept


class Mappings:
    """Shared mappings by what they map. Any thread may call any method."""

    def __init__(self) -> None:
        self._kept: dict[tuple[int, int], tuple[mmap.mmap, float]] = {}  # with when each was used last
        self._lock = allocate_lock()

    def __len__(self) -> int:
        return len(self._kept)

    def view(self, fd: int, size: int, gone: Callable[[], object]) -> memoryview:
        """Return the memory of a descriptor, writable.

        Parameters
        ----------
        fd : int
            The descriptor; it may be closed afterwards.
        size : int
            Its size, in bytes.
        gone : callable
            Called when the last view is gone, in any thread.
        """
        about = os.fstat(fd)
        key = about.st_dev, about.st_ino
        with self._lock:
            kept = self._kept.pop(key, None)
            mapping = kept[0] if kept is not None and len(kept[0]) == size else mmap.mmap(fd, size)
            self._kept[key] = mapping, time.monotonic()  # the latest last
            while len(self._kept) > _MOST:
                del self._kept[next(iter(self._kept))]
        lent = _array_type(size).from_buffer(mapping)
        lent.gone = gone
        return memoryview(lent).cast("B")

    def disown(self) -> None:
        """Have a lock of its own, in a fork: another thread may have had the old one."""
        self._lock = allocate_lock()

    def trim(self, idle_s: float) -> None:
        """Let go of what has not been used for that long, in seconds; who looks at it keeps it."""
        before = time.monotonic() - idle_s
        with self._lock:
            for key, (_, used) in list(self._kept.items()):
                if used <= before:
                    del self._kept[key]


_types: dict[int, Any] = {}


def _array_type(size: int) -> Any:
    """Return a type whose instances lie on somebody's memory, and tell when they are gone.

    Only an object that exports a buffer itself can tell: arrays hold it, and not the views between.
    """
    if size in _types:
        return _types[size]
    import _ctypes  # `ctypes` is a layer over it that takes ten times as long to load

    class Byte(_ctypes._SimpleCData):  # type: ignore[type-arg]
        _type_ = "B"

    class Lent(_ctypes.Array):  # type: ignore[type-arg]
        _type_ = Byte
        _length_ = size
        gone: Any = None

        def __del__(self) -> None:
            if self.gone is not None:
                self.gone()

    _types[size] = Lent
    return Lent
