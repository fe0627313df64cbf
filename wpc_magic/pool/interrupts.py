"""Ctrl-C and the notebook's stop button, held back while the pool's books are open.

A signal's handler may raise between any two steps of Python code in the main thread. Where it did so in the
middle of ours, a reply was lost, or a lock was never released. So our code runs with a handler that only
takes note, and the real one is back just while it waits.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # without the enums of `signal`, a swap costs 0.2 µs and not 3
import os
import threading
from _thread import get_ident
from collections.abc import Callable
from types import FrameType
from typing import Any

__all__ = ["Interrupts"]

_SIGINT = int(_signal.SIGINT)
_main = threading.main_thread().ident


class Interrupts:
    """A context in which SIGINT is held back; in other threads than the main one it does nothing.

    Examples
    --------
    >>> import signal
    >>> try:
    ...     with Interrupts() as interrupts:
    ...         signal.raise_signal(signal.SIGINT)
    ...         print("still here:", interrupts.noted)
    ... except KeyboardInterrupt:
    ...     print("and now it is raised")
    still here: True
    and now it is raised
    """

    __slots__ = ("_handler", "_holds", "noted")

    def __init__(self) -> None:
        self._handler: Any = None
        self._holds = False
        self.noted = False

    def __enter__(self) -> Interrupts:
        if get_ident() == _main:
            handler = _signal.getsignal(_SIGINT)
            if handler is not None:  # else it was set by C code, and could not be put back
                self._handler = handler
                self._holds = True
                _signal.signal(_SIGINT, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        if self._holds:
            _signal.signal(_SIGINT, self._handler)
            if self.noted:
                self._act()

    def _note(self, signum: int, frame: FrameType | None) -> None:
        self.noted = True

    def _act(self) -> None:
        """Do what the signal that was held back asks for."""
        self.noted = False
        handler = self._handler
        if callable(handler):
            handler(_SIGINT, None)
        elif handler == _signal.SIG_DFL:
            _signal.raise_signal(_SIGINT)

    def wait(self, blocking: Callable[..., Any], *args: Any) -> Any:
        """Call something that waits, with the real handler in force.

        What it raises, it must raise before anything has happened; ``poll`` is such a thing.
        """
        if not self._holds:
            return blocking(*args)
        try:
            _signal.signal(_SIGINT, self._handler)
            if self.noted:
                self._act()
            return blocking(*args)
        finally:
            self._hold_again()

    def _hold_again(self) -> None:
        while True:  # a signal may come before the first of these calls has been made
            try:
                _signal.signal(_SIGINT, self._note)
                return
            except BaseException:
                self.noted = True


def _in_fork() -> None:
    global _main
    _main = threading.main_thread().ident


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_fork)
