"""What wakes a thread that polls descriptors."""

from __future__ import annotations

import os

__all__ = ["open_waker"]


def open_waker() -> tuple[int, int]:
    """Return two file descriptors, maybe the same: what is written to the second makes the first readable.

    Eight bytes are written each time, as ``eventfd(2)`` wants it. Neither of the two blocks.

    Raises
    ------
    OSError
        If no descriptor is left.
    """
    if hasattr(os, "eventfd"):
        fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        return fd, fd
    ends = os.pipe()
    for fd in ends:
        os.set_blocking(fd, False)
    return ends
