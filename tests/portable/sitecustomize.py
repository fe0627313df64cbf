"""Takes away what only newer Linux systems have, so that the tests run on what every system has.

With this folder in ``PYTHONPATH``, each Python process begins with it, the workers, too: `make portable`.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from typing import Any

MISSING = ("memfd_create", "pidfd_open", "eventfd", "posix_fallocate")
_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def has_taken_away() -> bool:
    """Whether this process has begun with this file."""
    return getattr(sys.modules.get("sitecustomize"), "__file__", None) == __file__


def take_away() -> None:
    """Leave this process without memfd, pidfd, eventfd, and without ways to be killed by its parent's end."""
    import _ctypes
    import fcntl
    import posix

    for name in MISSING:
        for module in (os, posix):
            if hasattr(module, name):
                delattr(module, name)
    if hasattr(signal, "pidfd_send_signal"):
        del signal.pidfd_send_signal

    real_fcntl, real_call = fcntl.fcntl, _ctypes.call_function  # type: ignore[attr-defined]

    def without_signal(fd: Any, cmd: int, arg: Any = 0, /) -> Any:
        if cmd == fcntl.F_SETSIG:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return real_fcntl(fd, cmd, arg)

    prctl = _ctypes.dlsym(_ctypes.dlopen(None, 0), "prctl")  # type: ignore[attr-defined]

    def without_death_signal(function: int, arguments: tuple[Any, ...], /) -> Any:
        if function == prctl and arguments[:1] == (_PR_SET_PDEATHSIG,):
            return -1
        return real_call(function, arguments)

    fcntl.fcntl = without_signal  # type: ignore[assignment]
    _ctypes.call_function = without_death_signal  # type: ignore[attr-defined]


# Not where pytest imports it to look for doctests.
if __name__ == "sitecustomize" and sys.platform == "linux":
    take_away()
