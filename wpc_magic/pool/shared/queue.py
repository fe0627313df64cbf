"""A queue that all processes of a pool put in and take out of.

The items lie in a ring of memory, each as its length and its pickle. Where it begins and ends, and how many
items it has, are three words of a bank; there are two banks, and one more word tells which is in force. A
change is written to the other bank, and then takes effect by that one word. So a process that dies in the
middle changes nothing.
"""

from __future__ import annotations

import struct

from wpc_magic.pool.errors import SharedLockError
from wpc_magic.pool.shared.holding import me
from wpc_magic.pool.shared.lock import SharedLock
from wpc_magic.pool.shared.region import STATE, find_region
from wpc_magic.pool.shared.waiting import Deadline, Signal
from wpc_magic.pool.wire.codec import decode, encode_whole

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from wpc_magic.pool.shared.region import Region

__all__ = ["SharedQueue", "queue_state"]

_LENGTH = struct.Struct("<Q")
_MAX_ITEMS, _CHANGES, _BANK, _BANKS = STATE, STATE + 1, STATE + 3, STATE + 4  # _CHANGES takes two words
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.001, 0.02


def queue_state(max_items: int) -> dict[int, int]:
    """Return the words of an empty queue."""
    return {_MAX_ITEMS: max_items}


class SharedQueue:
    """A queue that all processes of a pool put in and take out of, first in, first out.

    What was taken out is gone, also if the worker that has it dies.

    Parameters
    ----------
    region : Region
        Its memory.

    Attributes
    ----------
    lock : SharedLock
        Held for more than one step.
    maxsize : int
        How many items it takes.
    max_bytes : int
        How many bytes their pickles may have together, and 8 for each.

    Examples
    --------
    >>> from wpc_magic.pool import WorkerProcedureCall
    >>> todo = WorkerProcedureCall().shared_queue("todo", maxsize=10)
    >>> todo.put("a"), todo.put({"b": 2}), len(todo), todo.get(), todo.get()
    (None, None, 2, 'a', {'b': 2})
    """

    __slots__ = ("_changes", "_data", "_region", "_words", "lock", "max_bytes", "maxsize")

    def __init__(self, region: Region) -> None:
        self._region = region
        self._words, self._data = region.words, region.data
        self._changes = Signal(region.words, _CHANGES)
        self.lock = SharedLock(region)
        self.maxsize: int = region.words[_MAX_ITEMS]
        self.max_bytes = len(region.data)

    # -- putting in and taking out ----------------------------------------------------------------------

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Put an item in.

        Parameters
        ----------
        item : object
            Anything that can be pickled.
        block : bool
            Whether to wait for room.
        timeout : float or None
            For how many seconds; None: for ever. A call that waits ends as any other, with its time-out or a
            cancel.

        Raises
        ------
        queue.Full
            If there is no room.
        ValueError
            If the item would not even fit into the empty queue.
        """
        body = self._encoded(item)
        if not self._wait(lambda: self._put(body), block, timeout):
            raise _full(self._region.name)

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Take the oldest item out, and return it.

        Parameters
        ----------
        block : bool
            Whether to wait for one.
        timeout : float or None
            As for `put`.

        Raises
        ------
        queue.Empty
            If there is none.
        """
        found: list[bytes] = []
        if not self._wait(lambda: self._get(found), block, timeout):
            raise _empty(self._region.name)
        return decode(found[0])

    def put_nowait(self, item: Any) -> None:
        """Put an item in if there is room; else raise `queue.Full`."""
        self.put(item, block=False)

    def get_nowait(self) -> Any:
        """Take an item out if there is one; else raise `queue.Empty`."""
        return self.get(block=False)

    async def put_async(self, item: Any, timeout: float | None = None) -> None:
        """Do as `put` in a coroutine, and let others go on meanwhile."""
        body = self._encoded(item)
        if not await self._wait_async(lambda: self._put(body), timeout):
            raise _full(self._region.name)

    async def get_async(self, timeout: float | None = None) -> Any:
        """Do as `get` in a coroutine, and let others go on meanwhile."""
        found: list[bytes] = []
        if not await self._wait_async(lambda: self._get(found), timeout):
            raise _empty(self._region.name)
        return decode(found[0])

    def _wait(self, act: Callable[[], bool], block: bool, timeout: float | None) -> bool:
        """Do something as soon as it can be done; return whether it was."""
        deadline = Deadline(timeout)
        while True:
            turn = self._changes.ready()
            with self.lock:
                if act():
                    break
            if not block or deadline.has_passed:
                return False
            self._check_not_held()
            self._changes.wait(turn, deadline)
        self._changes.notify()
        return True

    async def _wait_async(self, act: Callable[[], bool], timeout: float | None) -> bool:
        import asyncio

        deadline, pause = Deadline(timeout), _FIRST_PAUSE_S
        while True:
            async with self.lock:
                if act():
                    break
            if deadline.has_passed:
                return False
            self._check_not_held()
            await asyncio.sleep(deadline.slice_s(pause))
            pause = min(2 * pause, _LONGEST_PAUSE_S)
        self._changes.notify()
        return True

    def _check_not_held(self) -> None:
        hold = self._region.holds.get(0)
        if hold is not None and hold.owner == me():
            name = self._region.name
            raise SharedLockError(
                f"waiting for {name} would never end: nobody can change it while its lock is held here"
            )

    # -- the ring ---------------------------------------------------------------------------------------

    def _encoded(self, item: Any) -> bytes:
        body = encode_whole(item)
        if _LENGTH.size + len(body) > self.max_bytes:
            raise ValueError(
                f"an item of {len(body):,} bytes does not fit into {self._region.name}, which has "
                f"{self.max_bytes:,}: define it with a larger max_bytes"
            )
        return _LENGTH.pack(len(body)) + body

    def _state(self) -> tuple[int, int, int]:
        """Return where the items begin, where they end, and how many there are."""
        at = _BANKS + 3 * self._words[_BANK]
        begin, end, count = self._words[at : at + 3]
        return begin, end, count

    def _change(self, *state: int) -> None:
        bank = 1 - self._words[_BANK]
        for n, word in enumerate(state):
            self._words[_BANKS + 3 * bank + n] = word
        self._words[_BANK] = bank  # only now

    def _put(self, body: bytes) -> bool:
        begin, end, count = self._state()
        if count >= self.maxsize or end - begin + len(body) > self.max_bytes:
            return False
        at = end % self.max_bytes
        first = min(len(body), self.max_bytes - at)
        self._data[at : at + first] = body[:first]
        self._data[: len(body) - first] = body[first:]
        self._change(begin, end + len(body), count + 1)
        return True

    def _get(self, found: list[bytes]) -> bool:
        begin, end, count = self._state()
        if not count:
            return False
        (length,) = _LENGTH.unpack(self._read(begin, _LENGTH.size))
        found.append(self._read(begin + _LENGTH.size, length))
        self._change(begin + _LENGTH.size + length, end, count - 1)
        return True

    def _read(self, begin: int, size: int) -> bytes:
        at = begin % self.max_bytes
        first = min(size, self.max_bytes - at)
        return bytes(self._data[at : at + first]) + bytes(self._data[: size - first])

    # -- how full it is ---------------------------------------------------------------------------------

    def qsize(self) -> int:
        """Return how many items it has."""
        return self._state()[2]

    __len__ = qsize

    def __bool__(self) -> bool:
        return True  # as other queues: whether it has items is another question

    def empty(self) -> bool:
        """Return whether it has no item."""
        return not self.qsize()

    def full(self) -> bool:
        """Return whether it has as many items as it takes."""
        return self.qsize() >= self.maxsize

    def __repr__(self) -> str:
        return f"<shared queue {self._region.name}: {self.qsize()} of {self.maxsize} items>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _queue, (self._region.number, self._region.name)


def _queue(number: int, name: str) -> SharedQueue:
    return SharedQueue(find_region(number, name))


def _full(name: str) -> Exception:
    import queue

    return queue.Full(f"{name} has no room")


def _empty(name: str) -> Exception:
    import queue

    return queue.Empty(f"{name} has no item")
