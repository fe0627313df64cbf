"""Whether there is memory for a spare worker."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Room", "why_no_room"]

_ROOM = 2.0
"""A spare is started while so many times the memory of the largest worker is left."""
_MIN_ROOM = 1.0
"""One that runs is ended when less than so many times that is left."""
_MIB = 1 << 20
_UNKNOWN = 64 * _MIB
"""What a worker that was not measured is taken to use."""


class Room(NamedTuple):
    """How much memory there is for spare workers.

    Parameters
    ----------
    left : int
        How much more memory this machine, and the control groups of this process, have, in bytes.
    largest : int
        What the largest of the workers has for itself, in bytes; 0: unknown.
    """

    left: int
    largest: int


def why_no_room(room: Room, runs: bool) -> str:
    """Return why there is no memory for a spare worker; empty: there is.

    Parameters
    ----------
    room : Room
        The memory.
    runs : bool
        Whether it runs already: it then has to leave less.

    Examples
    --------
    >>> why_no_room(Room(1000 << 20, 400 << 20), False)
    ''
    >>> why_no_room(Room(700 << 20, 400 << 20), False)
    '700 MiB are left, and the largest worker has 400 MiB'
    >>> why_no_room(Room(700 << 20, 400 << 20), True)
    ''
    """
    largest = room.largest or _UNKNOWN
    if room.left >= (_MIN_ROOM if runs else _ROOM) * largest:
        return ""
    return f"{room.left // _MIB} MiB are left, and the largest worker has {largest // _MIB} MiB"
