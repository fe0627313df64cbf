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

__all__ = ["Interrupts", "free", "hold", "in_main_thread"]

_SIGINT = int(_signal.SIGINT)
_main = threading.main_thread().ident


_noted = False  # whether a signal came that is held back
_held: Any = None  # the handler in whose place ours was put last


def in_main_thread() -> bool:
    """Whether this is the thread in which signal handlers run."""
    return get_ident() == _main


def hold() -> Any:
    """Hold SIGINT back from now on; return what `free` takes. In other threads than the main one, nothing."""
    global _held
    if get_ident() != _main:
        return None
    handler = _signal.getsignal(_SIGINT)
    if handler is not None:  # else it was set by C code, and could not be put back
        _signal.signal(_SIGINT, _note)
        if handler is not _note:
            _held = handler
    return handler


def free(handler: Any) -> None:
    """Let SIGINT through again, and act on one that came meanwhile.

    Parameters
    ----------
    handler : object
        What `hold` returned.
    """
    if handler is not None:
        _signal.signal(_SIGINT, handler)
        if _noted and handler is not _note:  # else it is held back further out, too
            _act(handler)


def _note(signum: int, frame: FrameType | None) -> None:
    global _noted
    _noted = True


def _act(handler: Any) -> None:
    """Do what the signal that was held back asks for."""
    global _noted
    _noted = False
    if callable(handler):
        handler(_SIGINT, None)
    elif handler == _signal.SIG_DFL:
        _signal.raise_signal(_SIGINT)


class Interrupts:
    """A context in which SIGINT is held back; `hold` and `free` in a form that cannot be forgotten.

    Examples
    --------
    >>> import signal
    >>> try:
    ...     with Interrupts():
    ...         signal.raise_signal(signal.SIGINT)
    ...         print("still here")
    ... except KeyboardInterrupt:
    ...     print("and now it is raised")
    still here
    and now it is raised
    """

    __slots__ = ("_handler",)

    def __init__(self) -> None:
        self._handler: Any = None

    def __enter__(self) -> Interrupts:
        self._handler = hold()
        return self

    def __exit__(self, *_: object) -> None:
        free(self._handler)

    def wait(self, blocking: Callable[..., Any], *args: Any) -> Any:
        """Call something that waits, with the real handler in force, also where it is held back further out.

        What it raises, it must raise before anything has happened; ``poll`` is such a thing.
        """
        global _noted
        if self._handler is None:
            return blocking(*args)
        try:
            free(_held if self._handler is _note else self._handler)
            return blocking(*args)
        finally:
            while True:  # a signal may come before the first of these calls has been made
                try:
                    _signal.signal(_SIGINT, _note)
                    break
                except BaseException:
                    _noted = True


def _in_fork() -> None:
    global _main
    _main = threading.main_thread().ident


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_fork)
