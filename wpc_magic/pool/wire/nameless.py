"""Memory without a name: only descriptors lead to it, so it goes with the last process that has one."""

from __future__ import annotations

import os

__all__ = ["nameless_file"]


def nameless_file(size: int, name: str = "wpc-block", in_memory: bool = True) -> int:
    """Return the descriptor of memory that has no name, and so cannot be left behind.

    Parameters
    ----------
    size : int
        In bytes.
    name : str
        What ``/proc`` shows.
    in_memory : bool
        Whether it is a memfd; else, and where there is none, an unlinked temporary file.
    """
    if in_memory and hasattr(os, "memfd_create"):
        fd = os.memfd_create(name, os.MFD_CLOEXEC)
    else:
        import tempfile

        fd, path = tempfile.mkstemp(prefix="wpc")
        os.unlink(path)
    try:
        os.ftruncate(fd, size)
    except BaseException:
        os.close(fd)
        raise
    return fd
