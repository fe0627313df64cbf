"""A thread for what users want called: listeners, done-callbacks, or sinks, in order, and never in ours."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable

__all__ = ["Callbacks"]

_IDLE_S = 1.0


class Callbacks:
    """Calls functions one after another in a thread that ends when there has been nothing for a while.

    Parameters
    ----------
    name : str
        The thread's.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._calls: deque[tuple[Callable[..., object], tuple[object, ...]]] = deque()
        self._lock = threading.Lock()  # held for a moment only, and never while anything is called
        self._posted = threading.Event()
        self._thread: threading.Thread | None = None
        self._closing = False

    def post(self, function: Callable[..., object], *args: object) -> None:
        """Have `function` called soon; its exceptions are logged."""
        with self._lock:
            self._calls.append((function, args))
            if self._thread is None:
                self._closing = False
                thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                try:
                    thread.start()
                except RuntimeError:  # the interpreter ends: nobody is called any more
                    return
                self._thread = thread
        self._posted.set()

    def close(self) -> None:
        """Call what is waiting, and end the thread; it comes back when something is posted."""
        with self._lock:
            self._closing = True
            thread = self._thread
        self._posted.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def forget(self) -> None:
        """Drop everything, in a fork of the process: the thread is not there."""
        self.__init__(self._name)  # type: ignore[misc]

    def _run(self) -> None:
        while True:
            while self._calls:
                function, args = self._calls.popleft()
                try:
                    function(*args)
                except Exception:
                    logging.getLogger("wpc_magic").exception("a callback of the pool raised")
                del function, args
            posted = self._posted.wait(0 if self._closing else _IDLE_S)
            self._posted.clear()
            with self._lock:
                if not self._calls and (self._closing or not posted):
                    self._thread = None
                    return
