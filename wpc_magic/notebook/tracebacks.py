"""Short tracebacks for errors and interrupts: frames of the cell and the function, none of this package."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any

from wpc_magic.pool.errors import WpcError
from wpc_magic.pool.futures import CallFuture, leave_alone

from .cell_places import with_cell_numbers
from .frames import module_of, shown_frames, strip_own_frames

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["TracebackFilter", "strip_own_frames"]

_HOOK = "_render_traceback_"  # the hook by which IPython lets an exception render itself
_METHOD = "structured_traceback"  # of IPython's formatter
_SHOW = "showtraceback"  # of the shell
_WAITS = (sys.stdlib_module_names | {"IPython", "prompt_toolkit", "wpc_magic"}) - {"__main__"}


class TracebackFilter:
    """Makes a shell show errors of calls, and interrupts of a wait, without the pool's frames.

    Parameters
    ----------
    shell : InteractiveShell
        Its formatter of tracebacks is used.
    interrupted : callable
        Called when an interrupt has ended a wait, before it is raised in the cell, which may catch it.
    """

    def __init__(self, shell: InteractiveShell, interrupted: Callable[[], object] = lambda: None) -> None:
        self._shell: Any = shell
        self._original: Any = getattr(self._shell.InteractiveTB, _METHOD)
        self._original_show: Any = None

        def render(error: WpcError) -> list[str]:
            return self.render(error)

        def shorten(interrupt: BaseException) -> None:
            interrupt._render_traceback_ = partial(self.render, interrupt)  # type: ignore[attr-defined]
            if isinstance(interrupt, KeyboardInterrupt):
                interrupted()

        self._render = render
        self._shorten = shorten
        self._method = self._structured_traceback
        self._show = self._showtraceback

    def install(self) -> None:
        """Install the hooks."""
        setattr(WpcError, _HOOK, self._render)
        setattr(self._shell.InteractiveTB, _METHOD, self._method)
        self._original_show = getattr(self._shell, _SHOW, None)
        setattr(self._shell, _SHOW, self._show)
        CallFuture.on_interrupt = staticmethod(self._shorten)
        CallFuture.raises_exits = False  # a shell says how to leave it when it gets one

    def uninstall(self) -> None:
        """Remove the hooks, unless another shell has installed its own since."""
        if WpcError.__dict__.get(_HOOK) is self._render:
            delattr(WpcError, _HOOK)
        if vars(self._shell.InteractiveTB).get(_METHOD) is self._method:
            delattr(self._shell.InteractiveTB, _METHOD)
        if vars(self._shell).get(_SHOW) is self._show:
            delattr(self._shell, _SHOW)
        if CallFuture.on_interrupt is self._shorten:
            CallFuture.on_interrupt = staticmethod(leave_alone)
            CallFuture.raises_exits = True

    def render(self, error: BaseException) -> list[str]:
        """Return the traceback as it is shown."""
        cause, suppress = error.__cause__, error.__suppress_context__
        if cause is not None:
            error.__cause__ = None  # temporarily: the text describes it already, and its frames are ours
        try:
            return self._structured_traceback(type(error), error, error.__traceback__)
        finally:
            error.__cause__, error.__suppress_context__ = cause, suppress

    def _showtraceback(self, exc_tuple: Any = None, *rest: Any, **options: Any) -> None:
        """Do what the shell's own method does: it shows a group of exceptions without its formatter."""
        error = (exc_tuple or sys.exc_info())[1]
        if isinstance(error, BaseExceptionGroup):
            error.__traceback__ = strip_own_frames(error.__traceback__)
        self._original_show(exc_tuple, *rest, **options)

    def _structured_traceback(
        self, kind: type, error: BaseException | None, tb: Any = None, *rest: Any, **options: Any
    ) -> list[str]:
        """Do what the formatter's own method does, with the frames that are shown."""
        if error is None or isinstance(tb, tuple):
            lines: list[str] = self._original(kind, error, tb, *rest, **options)
            return lines
        # Where variables are shown, frames without them are better than frames with wrong ones.
        parameters = not getattr(self._shell.InteractiveTB, "include_vars", False)
        shown = shown_frames(tb, parameters)
        chain = _chain(error)
        if (shown is None and not chain) or (isinstance(error, KeyboardInterrupt) and _only_waits(shown)):
            text = with_cell_numbers(str(error), self._shell)
            return [f"{kind.__name__}: {text}" if text else kind.__name__]
        with _shown(chain, parameters):
            lines = self._original(kind, error, shown, *rest, **options)
        if isinstance(error, WpcError):  # it may tell where a worker was
            lines = [with_cell_numbers(line, self._shell) for line in lines]
        return lines


def _only_waits(tb: TracebackType | None) -> bool:
    """Return whether nothing of a user is in a traceback: an event loop has waited."""
    while tb is not None:
        if module_of(tb.tb_frame).partition(".")[0] not in _WAITS:
            return False
        tb = tb.tb_next
    return True


def _chain(error: BaseException) -> list[BaseException]:
    """Return the causes and contexts of an exception."""
    found: list[BaseException] = []
    following = error.__cause__ or error.__context__
    while following is not None and following not in found and following is not error:
        found.append(following)
        following = following.__cause__ or following.__context__
    return found


@contextmanager
def _shown(errors: list[BaseException], parameters: bool) -> Iterator[None]:
    """Let exceptions have the tracebacks that are shown, for a while."""
    before = [(error, error.__traceback__) for error in errors]
    for error, tb in before:
        error.__traceback__ = shown_frames(tb, parameters)
    try:
        yield
    finally:
        for error, tb in before:
            error.__traceback__ = tb
