"""What initializers get that processes of `multiprocessing` inherit from each other (`executors.setup`)."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["OpenedAgain", "set_own_lock"]


def set_own_lock(set_lock: Callable[[object], object]) -> None:
    """Give a setter a new lock."""
    import threading

    set_lock(threading.RLock())


class OpenedAgain:
    """A pipe of the program, which each worker opens for itself as long as it is open there.

    Parameters
    ----------
    pid, fd, flags : int
        The process that has it open, the number of its descriptor there, and how it was opened.
    """

    def __init__(self, pid: int, fd: int, flags: int) -> None:
        self._where = pid, fd, flags

    def detach(self) -> int:
        """Return a descriptor of it."""
        pid, fd, flags = self._where
        return os.open(f"/proc/{pid}/fd/{fd}", (flags & os.O_ACCMODE) | os.O_CLOEXEC)
