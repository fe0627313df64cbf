"""What this process uses of the memory, recorded on the status page."""

from __future__ import annotations

import os

from wpc_magic.pool.wire.status_page import PEAK, RESIDENT

__all__ = ["note_memory"]


def note_memory(words: memoryview[int]) -> None:
    """Record the memory of this process now, and its peak, in bytes (Linux only: from `/proc`).

    Parameters
    ----------
    words : memoryview of int
        The words of the status page.

    Examples
    --------
    >>> words = memoryview(bytearray(64)).cast("Q")
    >>> note_memory(words)
    >>> words[PEAK] >= words[RESIDENT]
    True
    """
    try:
        status = os.open("/proc/self/status", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:  # not Linux
        return
    try:
        text = os.read(status, 4096)
    finally:
        os.close(status)
    for word, label in ((PEAK, b"VmHWM:"), (RESIDENT, b"VmRSS:")):
        _, _, rest = text.partition(label)
        if rest:
            words[word] = int(rest.split(None, 1)[0]) << 10
