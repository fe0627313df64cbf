"""Errors and interrupts as a notebook shows them: lines of the cell and of the function, no frame of ours."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any

from wpc_magic.pool.errors import WpcError
from wpc_magic.pool.futures import CallFuture, leave_alone

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["PlainErrors", "without_ours"]

_PACKAGE = __name__.partition(".")[0] + "."
_HOOK = "_render_traceback_"  # what IPython asks an exception for


def without_ours(tb: TracebackType | None) -> TracebackType | None:
    """Return a traceback without the frames of this package; None where nothing is left."""
    theirs = []
    while tb is not None:
        if not str(tb.tb_frame.f_globals.get("__name__")).startswith(_PACKAGE):
            theirs.append(tb)
        tb = tb.tb_next
    kept = None
    for one in reversed(theirs):
        kept = TracebackType(kept, one.tb_frame, one.tb_lasti, one.tb_lineno)
    return kept


class PlainErrors:
    """Has a shell show the pool's own errors, and what ends a wait, without the pool's frames.

    Parameters
    ----------
    shell : InteractiveShell
        Whose way of showing tracebacks is used.
    interrupted : callable
        Called where an interrupt has ended a wait, before the cell hears of it: it may catch that.
    """

    def __init__(self, shell: InteractiveShell, interrupted: Callable[[], object] = lambda: None) -> None:
        self._shell: Any = shell

        def render(error: WpcError) -> list[str]:
            return self.render(error)

        def shorten(interrupt: BaseException) -> None:
            interrupt._render_traceback_ = partial(self.render, interrupt)  # type: ignore[attr-defined]
            if isinstance(interrupt, KeyboardInterrupt):
                interrupted()

        self._render = render
        self._shorten = shorten

    def put_in(self) -> None:
        """Have errors shown this way."""
        setattr(WpcError, _HOOK, self._render)
        CallFuture.on_interrupt = staticmethod(self._shorten)

    def take_out(self) -> None:
        """Have errors shown as any other, unless another shell shows them by now."""
        if WpcError.__dict__.get(_HOOK) is self._render:
            delattr(WpcError, _HOOK)
        if CallFuture.on_interrupt is self._shorten:
            CallFuture.on_interrupt = staticmethod(leave_alone)

    def render(self, error: BaseException) -> list[str]:
        """Return the traceback as it is shown."""
        cause, quiet = error.__cause__, error.__suppress_context__
        if cause is not None:
            error.__cause__ = None  # for now: the text tells of it already, and its frames are ours
        try:
            theirs = without_ours(error.__traceback__)
            lines: list[str] = self._shell.InteractiveTB.structured_traceback(type(error), error, theirs)
            return lines
        finally:
            error.__cause__, error.__suppress_context__ = cause, quiet
