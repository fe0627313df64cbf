"""Tells where a call is made: which request of the front end the current task or thread works for.

::

    a cell, a click on a widget ──┬── an asyncio task of it ── context variable of the kernel
                                  └── a thread of it, and what is submitted to an executor ── ThreadOrigins
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Mapping
from concurrent import futures
from contextvars import ContextVar
from functools import wraps
from multiprocessing.pool import ThreadPool
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["Origins", "ThreadOrigins", "parent_variable", "same_origin"]

_CELLS = itertools.count(1)  # of all shells, and not counted anew after a reload
_MARK = "_wpc_magic_origin"  # the attribute of a thread
_OURS = "wpc-"  # the threads of the pool work for every cell


class Origins:
    """The origins of calls in one shell: headers of requests, which are not to be changed.

    In a kernel, ipykernel keeps the header of the request in a context variable, which an asyncio task
    inherits from the code that creates it. The kernel sets it for each cell and each message of a widget.
    A thread begins without it: see `ThreadOrigins`. Where neither says anything, which is so in the threads
    of the pool, a call belongs to the request that came last.

    Parameters
    ----------
    shell : InteractiveShell
        The shell; in a terminal, which has no requests, each cell is given a number.
    """

    def __init__(self, shell: InteractiveShell) -> None:
        self._shell: Any = shell
        kernel: Any = getattr(shell, "kernel", None)
        self._in_kernel = kernel is not None
        self._cell: Any = None  # of a terminal: the cell that has begun last
        self._variable = _variable_of(shell, kernel) if self._in_kernel else ContextVar("wpc_magic_cell")
        self.threads = ThreadOrigins(self.current)

    def begin_cell(self) -> Any:
        """Record that a cell begins, and return its origin."""
        if not self._in_kernel:
            self._cell = {"cell": next(_CELLS)}
            self._variable.set(self._cell)
            return self._cell
        latest = self.latest()
        if latest is not None and not same_origin(latest, self.current()):
            # ipykernel 6 sets it together with `sys.stdout`, which something has replaced.
            self._variable.set(latest)
        return latest

    def cell(self) -> Any:
        """Return the origin of the cell that runs, or has just ended, in this thread."""
        return self.current() if self._in_kernel else self._cell

    def current(self) -> Any:
        """Return the origin of a call that is made here and now; None if there is none."""
        held = self._variable.get(None)
        if held:
            return held.get("header", held)  # ipykernel 7 holds the whole request, 6 its header
        origin = getattr(threading.current_thread(), _MARK, None)
        return self.latest() if origin is None else origin

    def latest(self) -> Any:
        """Return the origin of the request that came last; None if there was none."""
        if not self._in_kernel:
            return self._cell
        parent: Mapping[str, Any] = getattr(self._shell, "get_parent", dict)() or {}
        return parent.get("header") or None  # without the rest, which is the whole source of a cell


def same_origin(one: Any, other: Any) -> bool:
    """Return whether two origins are of the same request."""
    if one is other:
        return one is not None
    return (
        isinstance(one, Mapping)
        and isinstance(other, Mapping)
        and "msg_id" in one
        and one["msg_id"] == other.get("msg_id")
    )


def parent_variable(holder: Any) -> ContextVar[Any] | None:
    """Return the variable in which a shell or stream of ipykernel keeps the header of a task's request."""
    variable = getattr(holder, "_parent_header", None)
    return variable if isinstance(variable, ContextVar) else None


def _variable_of(shell: Any, kernel: Any) -> ContextVar[Any]:
    for holder in (shell, getattr(kernel, "_stdout", None)):  # the shell has one since ipykernel 7
        variable = parent_variable(holder)
        if variable is not None:
            return variable
    return ContextVar("wpc_magic_cell")


class ThreadOrigins:
    """Lets threads work for the origin that has started them, and those of a pool for the one that submits.

    Python calls nothing when a thread begins, and a thread inherits no context variables. So this wraps
    ``Thread.start``, as ipykernel 6 wraps ``Thread.run``, and what gives a pool of threads something to do.

    Parameters
    ----------
    current : callable
        Returns the origin in the current thread.
    """

    def __init__(self, current: Callable[[], Any]) -> None:
        self._current = current
        self._installed = False
        self._undo: list[Callable[[], None]] = []

    def install(self) -> None:
        """Wrap the methods."""
        self._installed = True
        start = threading.Thread.start
        submit: Callable[..., Any] = futures.ThreadPoolExecutor.submit

        @wraps(start)
        def start_here(thread: threading.Thread) -> None:
            if self._installed and not getattr(thread, "_name", _OURS).startswith(_OURS):
                setattr(thread, _MARK, self._current())
            start(thread)

        @wraps(submit)
        def submit_here(executor: Any, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
            if self._installed and not isinstance(executor, _PICKLES):
                fn = _Work(fn, self._current())
            return submit(executor, fn, *args, **kwargs)

        self._wrap(threading.Thread, "start", start_here)
        self._wrap(futures.ThreadPoolExecutor, "submit", submit_here)
        for name in ("apply_async", "imap", "imap_unordered", "_map_async"):  # all others call these
            self._wrap(ThreadPool, name, self._submitting(getattr(ThreadPool, name, None)))

    def _submitting(self, method: Any) -> Any:
        if method is None:  # of another Python
            return None

        @wraps(method)
        def submit_here(pool: Any, func: Any, *args: Any, **kwargs: Any) -> Any:
            return method(pool, _Work(func, self._current()) if self._installed else func, *args, **kwargs)

        return submit_here

    def _wrap(self, owner: type, name: str, wrapper: Any) -> None:
        if wrapper is None:
            return
        before = vars(owner).get(name)
        setattr(owner, name, wrapper)

        def undo() -> None:
            if vars(owner).get(name) is not wrapper:  # somebody has wrapped it since, and calls it
                return
            if before is None:  # it was inherited
                delattr(owner, name)
            else:
                setattr(owner, name, before)

        self._undo.append(undo)

    def uninstall(self) -> None:
        """Restore the methods, unless somebody else has wrapped them since."""
        self._installed = False
        while self._undo:
            self._undo.pop()()


_PICKLES: Any = getattr(futures, "InterpreterPoolExecutor", ())  # what is submitted goes elsewhere


class _Work:
    """A function that runs for the origin that has submitted it, in a thread that serves others, too."""

    def __init__(self, fn: Any, origin: Any) -> None:
        self._fn, self._origin = fn, origin

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        thread = threading.current_thread()
        before = getattr(thread, _MARK, None)
        setattr(thread, _MARK, self._origin)
        try:
            return self._fn(*args, **kwargs)
        finally:
            setattr(thread, _MARK, before)
