"""Signal handlers are held back while the pool's shared state is being changed.

In the main thread, a signal handler may run between any two bytecode instructions, and raise. If that
happened in our code, a reply could be lost, or a lock never released; and a handler that uses the pool would
wait for a lock that its own thread holds. So our code runs with a handler that only records the signal in
place of every handler that is written in Python; the real ones are back only while our code blocks.

A mask (``pthread_sigmask``) does not do this: the system gives the signal to any other thread of the program,
and Python still runs the handler in this one.

Nothing announces that a signal gets a handler in Python, and to ask for all of them takes as long as
everything else here. So only the usual ones are asked for each time; for all, the driver's thread asks
when it wakes up, some twenty times a second at most.
"""

from __future__ import annotations

# `_signal` has no enums: to exchange a handler takes 0.2 µs with it, and 3 µs with `signal`.
import _signal  # type: ignore[import-not-found]
import os
import signal
import sys
import threading
import time
from _signal import getsignal
from _thread import get_ident
from collections.abc import Callable
from types import FrameType
from typing import Any

__all__ = [
    "LOOK_S",
    "HeldInterrupts",
    "acquire",
    "find_handlers",
    "hold",
    "in_main_thread",
    "is_of_handler",
    "poll",
    "restore",
]

LOOK_S = 1.0
"""How long the main thread waits at a time, in seconds.

Python misses a signal that arrives just before a wait begins, as while this thread gives way to another:
it calls the handler only after that wait. So no wait is longer.
"""

_set = _signal.signal
_main = threading.main_thread().ident
_SIGINT, _SIGTERM, _SIGALRM, _SIGUSR1 = (
    int(getattr(signal, name, signal.SIGINT)) for name in ("SIGINT", "SIGTERM", "SIGALRM", "SIGUSR1")
)
if getsignal(_SIGINT) is None:  # C code has set it, and it could not be put back
    _SIGTERM = _SIGINT  # so `hold` takes the long way, which leaves it alone
_unholdable = {getattr(signal, name, None) for name in ("SIGKILL", "SIGSTOP")}
_all = tuple(sorted(int(signum) for signum in signal.valid_signals() - _unholdable))

_others: tuple[int, ...] = ()  # signals besides SIGINT that have a handler in Python, as far as is known
_depth = 0  # of `hold` in the main thread
_handler: Any = None  # the handler of SIGINT that `_record` stands in for
_is_all = False  # whether all signals are held back now, and not only SIGINT
_exchanged: dict[int, Any] = {}  # if so: the handlers that `_record` stands in for
_pending: list[int] = []  # the signals that arrived meanwhile


def in_main_thread() -> bool:
    """Return whether this is the thread in which signal handlers run."""
    return get_ident() == _main


def is_of_handler(error: BaseException) -> bool:
    """Return whether a signal handler has raised an exception that was caught in this thread.

    Other code may have raised it as well if it is a KeyboardInterrupt: Python's own handler leaves no frame.
    """
    if not in_main_thread():
        return False
    if isinstance(error, KeyboardInterrupt):
        return True
    handlers = [*map(getsignal, _all), *_exchanged.values(), _handler]
    codes = {getattr(getattr(each, "__func__", each), "__code__", None) for each in handlers} - {None}
    tb = error.__traceback__
    while tb is not None:
        if tb.tb_frame.f_code in codes:
            return True
        tb = tb.tb_next
    return False


def acquire(lock: Any, timeout_s: float = -1.0) -> bool:
    """Acquire a lock, and return whether it was acquired; no signal that comes meanwhile waits for that.

    Parameters
    ----------
    lock : lock
        A lock of `_thread`.
    timeout_s : float
        For how long to wait, in seconds; -1: without a limit.
    """
    acquired: bool
    if get_ident() != _main:
        acquired = lock.acquire(True, timeout_s)
        return acquired
    until = time.monotonic() + timeout_s if timeout_s >= 0 else None
    while True:
        left = LOOK_S if until is None else min(LOOK_S, max(0.0, until - time.monotonic()))
        if lock.acquire(True, left):
            return True
        if until is not None and time.monotonic() >= until:
            return False


def poll(poll_set: Any, timeout_s: float = -1.0) -> list[tuple[int, int]]:
    """Return what is ready, or nothing after so many seconds; as `acquire`."""
    ready: list[tuple[int, int]]
    if get_ident() != _main:
        ready = poll_set.poll(None if timeout_s < 0 else timeout_s * 1000)
        return ready
    until = time.monotonic() + timeout_s if timeout_s >= 0 else None
    while True:
        left = LOOK_S if until is None else min(LOOK_S, max(0.0, until - time.monotonic()))
        ready = poll_set.poll(left * 1000)
        if ready or (until is not None and time.monotonic() >= until):
            return ready


def find_handlers() -> None:
    """Find out which signals have a handler in Python. Any thread may call this."""
    global _others
    # `_record` counts as well: it stands in for a handler while the main thread holds them back.
    _others = tuple(
        [
            signum
            for signum in _all
            if (handler := getsignal(signum)).__class__ is not int
            and handler is not None
            and signum != _SIGINT
        ]
    )


def hold() -> bool:
    """Hold signal handlers back; return the argument of `restore`. Outside of the main thread, do nothing."""
    global _depth, _handler
    if get_ident() != _main:
        return False
    if _depth:
        _depth += 1
        return True
    # The default handler is 0.
    if getsignal(_SIGTERM) or getsignal(_SIGALRM) or getsignal(_SIGUSR1) or _others:
        _hold_all()
        return True
    try:
        _depth = 1  # first: for a handler that uses the pool now
        handler = _set(_SIGINT, _record)
        if handler is not _record:  # else a finalizer uses the pool while `restore` is at work
            _handler = handler
    except BaseException:
        _depth = 0
        raise
    return True


def _hold_all() -> None:
    """Hold back the handlers of all signals."""
    find_handlers()
    try:
        _exchange_all()
    except BaseException:
        _put_back()
        raise


def _exchange_all() -> None:
    """Exchange the handlers of all signals.

    Not in the ``try`` of its caller: since Python 3.12, what is raised at a jump in a loop may pass it by.
    """
    global _depth, _is_all
    # Again, until there are none: one that ran meanwhile may have used the pool, and put others back.
    while left := [
        (signum, handler)
        for signum in (_SIGINT, *_others)
        if _is_python(handler := getsignal(signum)) and handler is not _record
    ]:
        for signum, handler in left:
            _exchanged[signum] = handler  # before it is exchanged: a handler may run after that
            replaced = _set(signum, _record)
            if replaced is not _record:
                _exchanged[signum] = replaced
    _is_all = True
    _depth = 1


def restore(held: bool) -> None:
    """Put the handlers back, and call those whose signal arrived meanwhile.

    Parameters
    ----------
    held : bool
        What `hold` returned.
    """
    global _depth
    if not held:
        return
    if _depth != 1:
        if _depth:  # else `wait` could not hold them back again, and has raised
            _depth -= 1
        return
    _depth = 0
    if _is_all:
        _put_back()
    else:
        replaced = _set(_SIGINT, _handler)
        if replaced is not _record:  # it was exchanged meanwhile, and that stays
            _set(_SIGINT, replaced)
    if _pending:
        _deliver()


def _put_back() -> None:
    """Put all handlers back, although one that is back may raise; raise that at the end."""
    raised: BaseException | None = None
    while _is_all or _exchanged:
        try:
            _put_back_each()
        except BaseException as error:
            raised = error
    if raised is not None:
        raise raised


def _put_back_each() -> None:
    """Put handlers back until one raises. Not in the ``try`` of its caller, as `_exchange_all`."""
    global _is_all
    for signum, handler in list(_exchanged.items()):
        if getsignal(signum) is _record:  # otherwise it was exchanged meanwhile, and that stays
            _set(signum, handler)
        _exchanged.pop(signum, None)
    _is_all = False


def _record(signum: int, frame: FrameType | None) -> None:
    if signum not in _pending:
        _pending.append(signum)
        _pending.sort()  # as Python calls them


def _deliver() -> None:
    """Call the handlers of the pending signals: all of them, also if one raises."""
    signum = _pending.pop(0)
    handler = getsignal(signum)
    try:
        if _is_python(handler) and handler is not _record:
            handler(signum, sys._getframe(2))
        elif handler == _signal.SIG_DFL:
            _signal.raise_signal(signum)
    finally:
        if _pending:
            _deliver()


def _is_python(handler: Any) -> bool:
    # None: C code has set it; it is not called by Python, and could not be put back.
    return handler.__class__ is not int and handler is not None


class HeldInterrupts:
    """A context manager that holds signal handlers back: `hold` on entry, `restore` on exit.

    Examples
    --------
    >>> import signal
    >>> try:
    ...     with HeldInterrupts():
    ...         signal.raise_signal(signal.SIGINT)
    ...         print("still here")
    ... except KeyboardInterrupt:
    ...     print("and now it is raised")
    still here
    and now it is raised
    """

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = False

    def __enter__(self) -> HeldInterrupts:
        self._held = hold()
        return self

    def __exit__(self, *_: object) -> None:
        restore(self._held)

    def wait(self, blocking: Callable[..., Any], *args: Any) -> Any:
        """Call a blocking function with the real handlers in effect, even inside an outer `hold`.

        If a handler raises just after the function has returned, what it returned is lost; so it must have no
        effect that matters then, as is the case with ``poll``.
        """
        global _depth
        if not self._held:
            return blocking(*args)
        depth, raised = _depth, None
        try:
            _depth = 1
            restore(True)
            return blocking(*args)
        finally:
            # Not in a function of its own: its first instruction may run a handler, which raises.
            while True:
                try:
                    hold()
                    break
                except BaseException as error:
                    raised = error
            _depth = depth
            if raised is not None:
                raise raised


def _after_fork() -> None:
    global _main, _depth
    _main = threading.main_thread().ident
    _depth = 0
    _pending.clear()
    if in_main_thread():
        _put_back()  # if another thread has forked, the main one was perhaps in the middle of something


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
