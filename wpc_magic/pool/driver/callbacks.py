"""Runs user callbacks (listeners, done-callbacks, or sinks) in order, in a thread other than the driver's.

Nothing waits for that thread without a limit: a callback may block for ever.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable

from ..interrupts.locks import SignalSafeEvent

__all__ = ["Callbacks"]

_IDLE_S = 1.0


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
    """

    def __init__(self, name: str, ended: Callable[[], object], limit: int | None = None) -> None:
        self._name = name
        self._ended = ended
        self._limit = limit
        self._calls: deque[tuple[Callable[..., object], tuple[object, ...]]] = deque()
        self._left_out = 0
        # Held briefly, and never while a callback runs; reentrant for finalizers, which may post as well.
        self._lock = threading.RLock()
        self._posted = SignalSafeEvent()
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
            if self._thread is None:
                self._closing = False
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                try:
                    self._thread.start()
                except RuntimeError:  # no more threads; or the interpreter is shutting down
                    self._thread = None
                    return False
        self._posted.set()
        return True

    @property
    def is_busy(self) -> bool:
        """Whether the thread is another one than this, and has not come to its end."""
        thread = self._thread
        return thread is not None and thread is not threading.current_thread()

    def close(self) -> None:
        """Let the thread exit after the pending calls, without waiting; the next `post` starts a new one."""
        self._closing = True
        self._posted.set()

    def forget(self) -> None:
        """Drop everything, after a fork: the thread does not exist in the child."""
        self.__init__(self._name, self._ended, self._limit)  # type: ignore[misc]

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
            posted = self._posted.wait(0 if self._closing else _IDLE_S)
            self._posted.clear()
            with self._lock:
                if not self._calls and (self._closing or not posted):
                    self._thread = None
                    break
        self._ended()

    def _report_left_out(self) -> None:
        with self._lock:
            count, self._left_out = self._left_out, 0
        _report(f"{count} callbacks were left out, since one before them blocked for too long", None)


def _report(what: str, error: BaseException | None) -> None:
    try:
        logging.getLogger("wpc_magic").error(what, exc_info=error)
    except BaseException:  # a handler of the user's is no better than a callback
        pass
