"""The memory of one shared object, as one process has it mapped, and what its processes know of each other.

A region is an anonymous file. Its first page holds a few words, which every process reads and writes; each
word is read and written in one piece. The rest is the data. The same file carries the lock of the object
(`lock`): the system frees that when its holder ends, however that happens.

A region keeps its descriptor, the only one that this process ever has of the file: closing any other one
would free the lock. So an object that is an argument, or a value, travels as the number of its region.
"""

from __future__ import annotations

import os
from weakref import WeakValueDictionary

from wpc_magic.pool.errors import RequirementMissingError
from wpc_magic.pool.wire.native import map_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "FLAGGED",
    "HEADER_SIZE",
    "HOLDER",
    "REGIONS",
    "STATE",
    "TURN",
    "WAITS_FOR",
    "WHO",
    "Region",
    "find_region",
    "region_of",
]

HEADER_SIZE = 4096
"""The first page, in bytes; the data begins after it."""

# Words of the first page, by number.
HOLDER = 0  # the hold of the lock: its process and a number; 0: nobody. Not cleared by one that has died.
WHO = 1  # where that is: 1 + the number of its worker, which is 0 in the program itself
WAITS_FOR = 2  # the region whose lock this holder waits for; 0: none
TURN, FLAGGED = 3, 4  # changes with each release of the lock; whether anybody sleeps until then (`waiting`)
STATE = 8  # from here on, what an object keeps beside its data

REGIONS: WeakValueDictionary[int, Region] = WeakValueDictionary()
"""Those of this process, by number."""


class Region:
    """The memory of one shared object.

    Parameters
    ----------
    number : int
        The number that it has in all processes.
    name : str
        The object's name.
    fd : int
        The descriptor of the file.
    size : int
        The size of the file, in bytes.
    keeper : object
        What closes the descriptor when nothing refers to it any more; None: the region does it itself.

    Attributes
    ----------
    words : memoryview
        The words of the first page.
    data : memoryview
        The bytes behind it.
    holds : dict
        The hold of its lock by this process, at 0: that two threads cannot both put one there.
    """

    def __init__(self, number: int, name: str, fd: int, size: int, keeper: object = None) -> None:
        self.fd = -1
        memory = map_file(fd, size)
        self.number = number
        self.name = name
        self.fd = fd
        self._keeper = keeper
        self._pid = os.getpid()
        view: memoryview = memoryview(memory).cast("B")
        self.words = view[:HEADER_SIZE].cast("Q")
        self.data = view[HEADER_SIZE:]
        self.holds: dict[int, Any] = {}
        REGIONS[number] = self

    def __del__(self) -> None:
        fd, self.fd = self.fd, -1
        if fd >= 0 and self._keeper is None and self._pid == os.getpid():
            os.close(fd)


def find_region(number: int, name: str) -> Any:
    """Return the region of that number in this process.

    Raises
    ------
    RequirementMissingError
        If it is not here: the object was undefined or defined anew, or this is a process of no such pool.
    """
    region = REGIONS.get(number)
    if region is None:
        raise RequirementMissingError(
            f"the shared object {name!r} is not in this process: it was undefined or defined anew, or "
            f"belongs to another pool. What was pickled is a reference to it; to send or store its values, "
            f"make a copy"
        )
    return region


def region_of(value: Any) -> Region | None:
    """Return the region of a shared object, or of a part of a shared array; None: it is none."""
    found = getattr(value, "_region", None)
    return found if isinstance(found, Region) else None


def _after_fork() -> None:
    """Forget, in a fork, what the other process holds."""
    for region in list(REGIONS.values()):
        region.holds.clear()


os.register_at_fork(after_in_child=_after_fork)
