"""The lock of a shared object.

It is a lock of its file (`fcntl.lockf`), which the system frees when the process ends that has it. Such a
lock knows processes only. So within a process there is a `Hold` beside it, which belongs to a thread, or to a
task of asyncio, and to the call that runs there, at whose end it is freed.
"""

from __future__ import annotations

import fcntl
from _thread import get_ident

from wpc_magic.pool.errors import SharedLockError
from wpc_magic.pool.shared.holding import HELD, Hold, holds_of, me, the
from wpc_magic.pool.shared.region import FLAGGED, HOLDER, REGIONS, TURN, WAITS_FOR, WHO, find_region
from wpc_magic.pool.shared.waiting import Deadline, Signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wpc_magic.pool.shared.region import Region

__all__ = ["SharedLock", "release_of"]

_FREED_AT_END = 1 << 32  # in the word WHO: its call has ended without releasing it
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.001, 0.02  # of a coroutine that waits

assert FLAGGED == TURN + 1


class SharedLock:
    """The lock of a shared object: ``with grid.lock:`` in any process of the pool.

    It is freed when the block ends, and at the latest when the call ends, however it does: with a value, an
    error, a time-out, a cancel, or the death of its worker. Who holds it may take it again. In a coroutine
    write ``async with grid.lock:``.

    Parameters
    ----------
    region : Region
        The memory of the object.
    """

    __slots__ = ("_region",)

    def __init__(self, region: Region) -> None:
        self._region = region

    def __repr__(self) -> str:
        return f"<lock of {self._region.name}: {'held by ' + self.holder if self.holder else 'free'}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _lock, (self._region.number, self._region.name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SharedLock) and other._region is self._region

    def __hash__(self) -> int:
        return hash(self._region.number)

    # -- taking and releasing ---------------------------------------------------------------------------

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take the lock; return whether that has succeeded.

        Parameters
        ----------
        blocking : bool
            Whether to wait for it.
        timeout : float
            For how many seconds; -1: for ever. A call that waits ends as any other, with its time-out or a
            cancel.

        Raises
        ------
        SharedLockError
            If waiting would never end: because who has it waits for one that this caller has (of these, one
            gets this error), or is a coroutine of this very thread.

        Examples
        --------
        >>> from wpc_magic.pool import WorkerProcedureCall
        >>> lock = WorkerProcedureCall().shared_counter("done").lock
        >>> lock.acquire(timeout=1), lock.locked()
        (True, True)
        >>> lock.release()
        """
        if not blocking and timeout != -1:
            raise ValueError("a timeout can only be given if the lock is waited for")
        if timeout < 0 and timeout != -1:
            raise ValueError("the timeout must be positive, or -1")
        owner = me()
        if self._take(owner):
            return True
        if not blocking or timeout == 0:
            return False
        hold = self._region.holds.get(0)
        if hold is not None and hold.thread == get_ident():
            raise SharedLockError(
                f"the lock of {self._region.name} is held by a coroutine that cannot go on while this thread "
                f"waits; "
                f"in coroutines write: async with {self._region.name}.lock"
            )
        deadline = Deadline(None if timeout == -1 else timeout)
        signal = Signal(self._region.words, TURN)
        with _Waiting(self._region, owner) as waiting:
            while True:
                turn = signal.ready()
                if self._take(owner):
                    return True
                if deadline.has_passed:
                    return False
                signal.wait(turn, deadline)
                waiting.check()

    async def acquire_async(self, timeout: float | None = None) -> bool:
        """Take the lock in a coroutine, and let others go on meanwhile; return whether that has succeeded.

        Parameters
        ----------
        timeout : float or None
            For how many seconds to wait; None: for ever.

        Raises
        ------
        SharedLockError
            As `acquire`.
        """
        import asyncio

        owner, deadline, pause = me(), Deadline(timeout), _FIRST_PAUSE_S
        if self._take(owner):
            return True
        with _Waiting(self._region, owner) as waiting:
            while not deadline.has_passed:
                await asyncio.sleep(deadline.slice_s(pause))
                if self._take(owner):
                    return True
                pause = min(2 * pause, _LONGEST_PAUSE_S)
                waiting.check()
        return False

    def release(self) -> None:
        """Release the lock, once for each time that it was taken.

        Raises
        ------
        SharedLockError
            If this thread, or this task of asyncio, does not hold it.
        """
        hold = self._region.holds.get(0)
        if hold is None or hold.owner != me():
            raise SharedLockError(
                f"the lock of {self._region.name} is not held here, so it cannot be released"
            )
        hold.depth -= 1
        if not hold.depth:
            _free(self._region, 0)

    def __enter__(self) -> SharedLock:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    async def __aenter__(self) -> SharedLock:
        await self.acquire_async()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.release()

    def _take(self, owner: object) -> bool:
        """Take the lock if it is free, or held by its owner."""
        region = self._region
        hold = region.holds.get(0)
        if hold is not None:
            if hold.owner != owner:
                return False
            hold.depth += 1
            return True
        new = Hold(owner)
        try:
            return self._take_new(new)
        except BaseException:  # a signal handler has raised behind it
            if region.holds.get(0) is new:
                _free(region, 0)
            raise

    def _take_new(self, new: Hold) -> bool:
        region = self._region
        with the.guard():
            if region.holds.setdefault(0, new) is not new:
                return False
            try:
                fcntl.lockf(region.fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1)
            except BlockingIOError:
                del region.holds[0]
                return False
            except BaseException:
                del region.holds[0]
                raise
            words, calls = region.words, the.calls
            if words[HOLDER]:
                new.abandoned = _who(region)
            words[WAITS_FOR] = 0
            words[WHO] = 1 + (0 if calls is None else calls.worker_id)
            words[HOLDER] = new.token
            HELD.add(region)
        if calls is not None:
            calls.first_hold()
        return True

    # -- who has it -------------------------------------------------------------------------------------

    def locked(self) -> bool:
        """Return whether anybody holds the lock."""
        region = self._region
        if region.holds:
            return True
        probe = Hold(None)
        with the.guard():
            if region.holds.setdefault(0, probe) is not probe:
                return True
            try:
                fcntl.lockf(region.fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1)
                fcntl.lockf(region.fd, fcntl.LOCK_UN, 1)
            except BlockingIOError:
                return True
            finally:
                del region.holds[0]
        return False

    @property
    def holder(self) -> str:
        """Where the lock is held: ``"worker 2 (process 4242)"``; empty: it is free."""
        return _who(self._region) if self.locked() else ""

    @property
    def abandoned(self) -> str:
        """Where the holder before this one was, if it has ended without releasing; else empty.

        What it was writing may be incomplete then. Only who holds the lock is told.
        """
        hold = self._region.holds.get(0)
        return hold.abandoned if hold is not None and hold.owner == me() else ""


def _lock(number: int, name: str) -> SharedLock:
    return SharedLock(find_region(number, name))


def _who(region: Region) -> str:
    who, process = region.words[WHO], region.words[HOLDER] >> 32
    worker = (who & (_FREED_AT_END - 1)) - 1
    where = f"worker {worker} (process {process})" if worker > 0 else f"the program (process {process})"
    return f"a call of {where}" if who & _FREED_AT_END else where


def _free(region: Region, left: int) -> None:
    """Free a lock of this process; `left` tells the next holder how, if it was not released."""
    words = region.words
    with the.guard():
        words[WAITS_FOR] = 0
        if left:
            words[WHO] |= left
        else:
            words[HOLDER] = 0
        HELD.discard(region)
        fcntl.lockf(region.fd, fcntl.LOCK_UN, 1)
        region.holds.pop(0, None)  # not before: another thread would take it, and then lose the file's lock
        Signal(words, TURN).notify()


def release_of(call: int) -> None:
    """Free all locks that a call has not released, when it has ended."""
    for region in list(HELD):
        hold = region.holds.get(0)
        if hold is not None and hold.call == call:
            _free(region, _FREED_AT_END)


class _Waiting:
    """A wait for a lock, announced to those who may wait for this one.

    Who waits says so beside each lock that it holds. If these words lead from a lock to who waits for it,
    nobody of these can go on. Of them, the one whose hold has the highest number gives up.
    """

    def __init__(self, region: Region, owner: object) -> None:
        self._region = region
        self._held = holds_of(owner)
        self._tokens = {each.holds[0].token for each in self._held if 0 in each.holds}
        self._last: list[int] = []

    def __enter__(self) -> _Waiting:
        for each in self._held:
            each.words[WAITS_FOR] = self._region.number
        return self

    def __exit__(self, *_: object) -> None:
        for each in self._held:
            each.words[WAITS_FOR] = 0

    def check(self) -> None:
        """Raise the error if the wait would never end: if nothing has changed since the last time."""
        if not self._held:
            return
        circle = self._circle()
        if circle and circle == self._last and circle[-1] == max(circle):
            names = " and ".join(each.name for each in self._held)
            raise SharedLockError(
                f"waiting for the lock of {self._region.name} would never end: its holder waits for that of "
                f"{names}, which this one has. Take several locks in the same order everywhere"
            )
        self._last = circle

    def _circle(self) -> list[int]:
        """Return the holds that wait for each other, the last of them our own; empty: there is no circle."""
        found: list[int] = []
        region: Region | None = self._region
        while region is not None:
            token = region.words[HOLDER]
            if not token or token in found:
                break
            found.append(token)
            if token in self._tokens:
                return found
            region = REGIONS.get(region.words[WAITS_FOR])
        return []
