"""The dumps of a worker's `faulthandler`: an anonymous file that the pool reads. It outlives the worker.

This keeps the stack of a crash out of the output of functions. It also lets the pool request, with a signal,
the stacks of a worker that cannot answer because C code holds the GIL.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # without the enums of `signal`, as in the worker
import os

from wpc_magic.pool.wire.anonymous_file import anonymous_file

__all__ = ["SIGNAL", "FaultDump"]

SIGNAL = int(getattr(_signal, "SIGRTMAX", 1)) - 1
"""The signal that requests a dump; ``SIGUSR1`` and ``SIGUSR2`` belong to user code. 0: none is available."""

_MAX_SIZE = 1 << 18  # bytes; enough for a hundred threads of a hundred frames each


class FaultDump:
    """The pool's end of the file.

    Attributes
    ----------
    fd : int
        Its descriptor, which the worker inherits.
    """

    def __init__(self) -> None:
        import fcntl

        self.fd = anonymous_file(0, "wpc-dump")
        # Both ends share one file offset; in append mode it is not used, so truncating the file suffices.
        fcntl.fcntl(self.fd, fcntl.F_SETFL, fcntl.fcntl(self.fd, fcntl.F_GETFL) | os.O_APPEND)

    def clear(self) -> None:
        """Discard the dumps so far."""
        os.ftruncate(self.fd, 0)

    def read(self) -> str:
        """Return the dumps since the last `clear`."""
        return os.pread(self.fd, _MAX_SIZE, 0).decode("ascii", "replace")

    def close(self) -> None:
        """Close the descriptor."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)
