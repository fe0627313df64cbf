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
        Whether it is a memfd; else, and where there is none, a temporary file without a name.
    """
    if in_memory and hasattr(os, "memfd_create"):
        fd = os.memfd_create(name, os.MFD_CLOEXEC)
    else:
        fd = _temporary_file()
    try:
        os.ftruncate(fd, size)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _temporary_file() -> int:
    """Return the descriptor of a temporary file of no name, which only its owner may read."""
    import tempfile

    if hasattr(os, "O_TMPFILE"):
        # It never has a name: between the making of one and its removal this process may be killed.
        try:
            return os.open(tempfile.gettempdir(), os.O_TMPFILE | os.O_RDWR | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError:
            pass  # a file system that does not know it; or there is no room, which is told below
    fd, path = tempfile.mkstemp(prefix="wpc")
    os.unlink(path)
    return fd
