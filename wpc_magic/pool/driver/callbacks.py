"""Runs user callbacks (listeners, done-callbacks, or sinks) in order, in a thread other than the driver's.

Nothing waits for that thread without a limit: a callback may block for ever.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable

from ..interrupts.locks import SignalSafeEvent, SignalSafeLock

__all__ = ["Callbacks", "Posted"]

_IDLE_S = 1.0


class Posted:
    """What a thread of callbacks waits for while it has nothing to do."""

    def __init__(self) -> None:
        self._posted = SignalSafeEvent()

    def wake(self) -> None:
        """Wake the thread; if it does not wait, it will not do so next."""
        self._posted.set()

    def wait(self, timeout: float) -> bool:
        """Wait for `wake`, at most for the timeout in seconds; return whether it was called."""
        woken = self._posted.wait(timeout)
        self._posted.clear()
        return woken

    def close(self) -> None:
        """Free what it holds: the thread is about to exit."""

    def after_fork(self) -> None:
        """Make it anew, in a fork: nobody waits there."""
        self._posted = SignalSafeEvent()


class Callbacks:
    """Runs functions one after another in a thread, which exits after it has been idle for a while.

    Parameters
    ----------
    name : str
        The thread's name.
    ended : callable
        Called in the thread when it has nothing more to do, and exits.
    limit : int, optional
        How many calls may wait while a function blocks; later ones are left out, and logged as a number. By
        default there is no limit, and none is left out.
    posted : Posted, optional
        What the thread waits for.

    Attributes
    ----------
    count : int
        How often something was posted.
    """

    def __init__(
        self,
        name: str,
        ended: Callable[[], object],
        limit: int | None = None,
        posted: Posted | None = None,
    ) -> None:
        self._name = name
        self._ended = ended
        self._limit = limit
        self._calls: deque[tuple[Callable[..., object], tuple[object, ...]]] = deque()
        self._left_out = 0
        # Held briefly, and never while a callback runs; reentrant for finalizers, which may post as well. One
        # that interrupts its owner does not wait for the driver's lock, whose owner may wait for this one.
        self._lock = SignalSafeLock()
        self._posted = posted or Posted()
        self.count = 0
        self._thread: threading.Thread | None = None
        self._closing = False

    def post(self, function: Callable[..., object], *args: object) -> bool:
        """Schedule a call of `function`; what it raises is logged, whatever it is.

        Returns
        -------
        bool
            False if it is left out, or there is no thread for it now.
        """
        with self._lock:
            if self._limit is not None and len(self._calls) >= self._limit:
                self._left_out += 1
                return False
            self._calls.append((function, args))
            self.count += 1
            if self._thread is None:
                self._closing = False
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                try:
                    self._thread.start()
                except RuntimeError:  # no more threads; or the interpreter is shutting down
                    self._thread = None
                    return False
            self._posted.wake()  # under the lock: it may be closed as soon as the thread has nothing to do
        return True

    @property
    def is_busy(self) -> bool:
        """Whether the thread is another one than this, and has not come to its end."""
        thread = self._thread
        return thread is not None and thread is not threading.current_thread()

    def close(self) -> None:
        """Let the thread exit after the pending calls, without waiting; the next `post` starts a new one."""
        self._closing = True
        with self._lock:
            self._posted.wake()

    def forget(self) -> None:
        """Drop everything, after a fork: the thread does not exist in the child."""
        self._posted.after_fork()
        self.__init__(self._name, self._ended, self._limit, self._posted)  # type: ignore[misc]

    def _run(self) -> None:
        while True:
            while self._calls:
                function, args = self._calls.popleft()
                try:
                    function(*args)
                except BaseException as error:  # SystemExit, too, would be the end of all later callbacks
                    _report("a callback of the pool raised", error)
                    del error
                del function, args
                if self._left_out:
                    self._report_left_out()
            if self._wait():
                continue
            with self._lock:
                if not self._calls:
                    self._posted.close()
                    if self._calls:  # a finalizer has posted
                        continue
                    self._thread = None
                    break
        self._ended()

    def _wait(self) -> bool:
        """Wait for a call; return False if this thread has nothing more to do."""
        try:
            return self._posted.wait(0 if self._closing else _IDLE_S)
        except BaseException:  # a step of the pool has failed: its own thread says so, and ends the calls
            return True

    def _report_left_out(self) -> None:
        with self._lock:
            count, self._left_out = self._left_out, 0
        _report(f"{count} callbacks were left out, since one before them blocked for too long", None)


def _report(what: str, error: BaseException | None) -> None:
    try:
        logging.getLogger("wpc_magic").error(what, exc_info=error)
    except BaseException:  # a handler of the user's is no better than a callback
        pass
