"""The lock of a pool's state: what is done under it is done in full, whatever is raised meanwhile.

A *step* is what one thread does between `StateLock.enter` and `StateLock.leave`. Four things could stop it
halfway, or wait for it for ever:

- A signal handler runs in the main thread, and raises, or uses the pool. Handlers are held back until the end
  of the step (`interrupts/hold.py`).
- The stack has no room. That is found out before a step begins (`interrupts/stack.py`).
- A finalizer or the callback of a weak reference, which the garbage collector may run in this thread at any
  time, uses the pool. It finds the step in progress: what returns at once is done at the end of the step
  (`StateLock.do_after`), anything else is refused with `StepInProgressError`.
- Memory runs out, or a handler that was not known raises after all. Then the state is *torn*: nobody trusts
  it any more, and the driver's thread ends every call and every worker (`collapse.py`).
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..errors import PoolStateError, WpcError
from ..interrupts.hold import HeldInterrupts, hold, restore
from ..interrupts.locks import owns_signal_safe_lock
from ..interrupts.stack import ensure_step_room

__all__ = ["StateLock", "StepInProgressError"]


class StepInProgressError(PoolStateError):
    """A finalizer, run by the garbage collector in the middle of a step, asked for what has to wait."""

    def __init__(self) -> None:
        super().__init__(
            "the pool is in the middle of something in this very thread: a finalizer (__del__, or the "
            "callback of a weak reference) can make and cancel calls and stop the pool, not wait or ask"
        )


class StateLock:
    """The lock of one pool's state. See the module.

    Attributes
    ----------
    busy : bool
        Whether a step is in progress, in any thread.
    torn : BaseException or None
        What has stopped a step halfway.
    on_torn : callable
        Given that, called at once.
    acquire, release : callable
        Those of the lock itself; `Driver.submit` and `Waiters.wait` have `enter` and `leave` inlined.
    is_owned : callable
        Returns whether this thread owns it. Then it must not wait for anything: it is a finalizer.
    requests : deque
        What is to be done when the step has ended.
    """

    def __init__(self) -> None:
        self.on_torn: Callable[[BaseException], object] = lambda error: None
        self.torn: BaseException | None = None
        self.requests: deque[Callable[[], object]] = deque()
        self._held = False
        self.reset()
        _locks.add(self)

    def reset(self) -> None:
        """Make it anew, in a fork: another thread may hold it, and does not exist here."""
        # Reentrant, so that to acquire it and to own it is one step: a finalizer may run in between.
        self._lock = threading.RLock()
        self.acquire, self.release = self._lock.acquire, self._lock.release
        self.is_owned: Callable[[], bool] = self._lock._is_owned  # type: ignore[attr-defined]
        self.busy = False
        self.requests.clear()

    def enter(self) -> None:
        """Begin a step. Call `ensure_step_room` before.

        Raises
        ------
        StepInProgressError
            If this thread is in the middle of one.
        """
        held = hold()
        if not self.acquire(False) or self.busy:
            self.enter_contended(held)
        self.busy = True
        self._held = held

    def enter_contended(self, held: bool) -> None:
        """Wait for the lock, which another thread holds, or refuse: this thread does.

        Nor does a finalizer wait in the middle of a step of another pool, or where this thread owns the
        lock of a future: two could wait for each other.
        """
        try:
            if self.is_owned():
                self.release()  # it was acquired a second time
                raise StepInProgressError
            if owns_signal_safe_lock() or any(lock.is_owned() for lock in list(_locks)):
                raise StepInProgressError
            self.acquire()
        except BaseException:
            restore(held)
            raise

    def leave(self) -> None:
        """End a step."""
        held = self._held
        self.busy = False
        self.release()
        if self.requests:
            self.do_requests()
        restore(held)

    def tear(self, error: BaseException) -> None:
        """Note that an error has stopped a step halfway, unless it is a refusal of ours. In the step."""
        if not isinstance(error, WpcError) and self.torn is None:
            self.torn = error
            self.on_torn(error)

    def __enter__(self) -> StateLock:
        ensure_step_room()
        self.enter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: object
    ) -> None:
        try:
            if error is not None:
                self.tear(error)
        finally:
            self.leave()

    @contextmanager
    def reading(self) -> Iterator[None]:
        """A step that changes nothing: whatever is raised tears nothing."""
        ensure_step_room()
        self.enter()
        try:
            yield
        finally:
            self.leave()

    def locked(self) -> bool:
        """Return whether a step is in progress."""
        return self.busy

    # -- finalizers -------------------------------------------------------------------------------------

    def do_after(self, request: Callable[[], object]) -> None:
        """Have something done in a step of its own, as soon as the one in progress has ended."""
        self.requests.append(request)
        with HeldInterrupts():
            self.do_requests()

    def do_requests(self) -> None:
        """Do what was requested during a step that has ended, with signal handlers held back."""
        while self.requests and self.acquire(False):  # otherwise whoever holds it comes here
            try:
                if self.busy:
                    return
                self.busy = True
                try:
                    while self.requests:
                        self.requests.popleft()()
                except BaseException as error:
                    self.tear(error)
                finally:
                    self.busy = False
            finally:
                self.release()


_locks: weakref.WeakSet[StateLock] = weakref.WeakSet()
