"""The debugger after a failed call that was run again here, and a hint after one that was not."""

from __future__ import annotations

import linecache
import os.path
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from IPython.core.error import StdinNotImplementedError

from wpc_magic.notebook.tracebacks import strip_own_frames
from wpc_magic.pool.core.durations import shown_us

from .parsing import UsageMistake

if TYPE_CHECKING:
    from collections.abc import Callable

    from IPython.core.interactiveshell import InteractiveShell

    from wpc_magic.pool.core.ended_calls import EndedCall

__all__ = ["DebugHint", "how_it_ended", "lines_for_debugger", "post_mortem"]

_CELL = "<ipython-wpc>"
_HINT = "variables stay in the worker. Type: %wpc_debug"


@contextmanager
def lines_for_debugger() -> Iterator[None]:
    """Let a debugger find the lines of cells, whose names it takes for paths: it makes them absolute."""
    cells = [name for name in linecache.cache if name.startswith(_CELL)]
    aliases = {os.path.normcase(os.path.abspath(name)): linecache.cache[name] for name in cells}
    linecache.cache.update(aliases)
    try:
        yield
    finally:
        for name in aliases:
            linecache.cache.pop(name, None)


def post_mortem(shell: InteractiveShell, error: BaseException) -> None:
    """Open the shell's debugger in the frame in which an error was raised.

    Raises
    ------
    UsageMistake
        If the front end answers no questions, as a notebook that runs without a page.
    """
    traceback = strip_own_frames(error.__traceback__)
    sys.stdout.write(f"{type(error).__name__}: {error}\n")
    if traceback is None:
        return
    debugger: Any = shell.debugger_cls()  # IPython is mostly untyped
    debugger.reset()
    debugger.botframe = traceback.tb_frame
    try:
        debugger.interaction(None, traceback)
    except StdinNotImplementedError:
        raise UsageMistake(
            "this front end answers no questions, so there is no debugger; "
            "wpc.replay(error) runs the call again, and raises its error with all frames"
        ) from None


def how_it_ended(ended: EndedCall | None) -> str:
    """Return the line of what the history says of a failed call; empty: it says nothing of use."""
    if ended is None or not ended.error or ended.worker_id is None or ended.ran_s is None:
        return ""
    return f"on worker {ended.worker_id} it ran for {shown_us(ended.ran_s)}: {ended.error}\n"


class DebugHint:
    """Makes ``%debug`` after an error of a call say where its variables are.

    Parameters
    ----------
    shell : InteractiveShell
        The shell.
    """

    def __init__(self, shell: InteractiveShell) -> None:
        self._formatter: Any = shell.InteractiveTB
        self._original: Callable[..., None] = self._formatter.debugger
        self._wrapper = self._debugger

    def _debugger(self, force: bool = False) -> None:
        if force and hasattr(getattr(sys, "last_value", None), "wpc_call_id"):
            sys.stdout.write(_HINT + "\n")
        self._original(force)

    def install(self) -> None:
        """Wrap the method of this shell's formatter that opens the debugger."""
        self._formatter.debugger = self._wrapper

    def uninstall(self) -> None:
        """Restore it, unless somebody has wrapped it since."""
        if self._formatter.__dict__.get("debugger") is self._wrapper:
            del self._formatter.debugger
