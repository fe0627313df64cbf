"""Whether there is memory left on this machine for a value that is to stay here."""

from __future__ import annotations

import errno
import os
import time

__all__ = ["check_room"]

_SHARE = 32  # of what is left, this part is used before it is looked at again: others use it, too
_TRUSTED_S = 0.5
_allowed = 0
_until = 0.0


def check_room(size: int) -> None:
    """Check that so much memory is left: to write to more than there is would end processes of this machine.

    Parameters
    ----------
    size : int
        In bytes.

    Raises
    ------
    OSError
        If there is less, of the machine or of a control group.
    """
    global _allowed, _until
    now = time.monotonic()
    if size > _allowed or now > _until:
        left = _memory_left()
        if left is None:
            return
        if left < size:
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
        _allowed, _until = left // _SHARE, now + _TRUSTED_S
    _allowed -= size


def _memory_left() -> int | None:
    """Return how much memory is left, in bytes; None: nobody knows. Without psutil, which is slow to load."""
    from wpc_magic.pool.control_groups import memory_left  # only such values need it

    found = [memory_left()]
    try:
        with open("/proc/meminfo", "rb") as file:
            found += [1024 * int(line.split()[1]) for line in file if line.startswith(b"MemAvailable:")]
    except OSError:  # this is no Linux
        pass
    return min((each for each in found if each is not None), default=None)
