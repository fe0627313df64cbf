"""Where a worker's `faulthandler` writes: nameless memory that the pool reads, and that outlives the worker.

So the stack of a crash does not appear among what functions print; and by a signal the pool gets the stacks
of a worker that cannot answer, since C code holds the GIL.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # without the enums of `signal`, as in the worker
import os

from wpc_magic.pool.wire.nameless import nameless_file

__all__ = ["SIGNAL", "Dump"]

SIGNAL = int(getattr(_signal, "SIGRTMAX", 1)) - 1
"""The signal for a dump; ``SIGUSR1`` and ``SIGUSR2`` are the user's. 0: this system has none to spare."""

_MOST = 1 << 18  # bytes; a hundred threads of a hundred frames are fewer


class Dump:
    """The pool's end.

    Attributes
    ----------
    fd : int
        The descriptor, which the worker inherits.
    """

    def __init__(self) -> None:
        import fcntl

        self.fd = nameless_file(0, "wpc-dump")
        # Both ends share one offset; what is appended needs none, so emptying the file is one step.
        fcntl.fcntl(self.fd, fcntl.F_SETFL, fcntl.fcntl(self.fd, fcntl.F_GETFL) | os.O_APPEND)

    def clear(self) -> None:
        """Forget what was written."""
        os.ftruncate(self.fd, 0)

    def read(self) -> str:
        """Return what was written since."""
        return os.pread(self.fd, _MOST, 0).decode("ascii", "replace")

    def close(self) -> None:
        """Close the descriptor."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)
