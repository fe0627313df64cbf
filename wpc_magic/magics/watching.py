"""``%wpc_status --watch``: a table that is shown again and again in its place, until Ctrl-C."""

from __future__ import annotations

import html
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from IPython.core.displaypub import CapturingDisplayPublisher

from wpc_magic.notebook.progress_area import KernelArea
from wpc_magic.notebook.screen_area import ScreenArea
from wpc_magic.pool.interrupts.hold import HeldInterrupts

from .messages import PlainText

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from wpc_magic.dashboard.table import Table
    from wpc_magic.notebook.output import NotebookOutput

__all__ = ["INTERVAL_S", "watch"]

INTERVAL_S = 0.5
"""How often the table is shown again, in seconds."""

_STILL = "Shown once, and not live: {}."


def watch(
    take: Callable[[], Table],
    goes_on: Callable[[], bool],
    shell: InteractiveShell,
    output: NotebookOutput,
    origin: Any,
) -> PlainText | None:
    """Show a table again and again in its place, until Ctrl-C or the stop button, which end nothing else.

    Parameters
    ----------
    take : callable
        Returns the table as it is now.
    goes_on : callable
        Returns whether there may be something else to see later.
    shell : InteractiveShell
        The shell.
    output : NotebookOutput
        What workers print goes there: it is shown above the table.
    origin : mapping or None
        The header of the cell's request, in a kernel.

    Returns
    -------
    PlainText or None
        What is to be shown where it cannot be live; None: it was.
    """
    in_kernel = getattr(shell, "kernel", None) is not None
    screen = ScreenArea()
    if threading.current_thread() is not threading.main_thread():
        return _once(take, "Ctrl-C and the stop button reach the main thread only")
    if in_kernel:
        if isinstance(shell.display_pub, CapturingDisplayPublisher):
            return _once(take, "the output is captured")
        area = KernelArea(shell, origin)
        _run(take, goes_on, partial(_show_in, area), "the stop button")
        return None
    if not screen.is_terminal:
        return _once(take, "the output is no terminal")
    before = output.before_write

    def make_room(text: str) -> None:
        before(text)
        screen.make_room(text)

    output.before_write = make_room
    try:
        _run(take, goes_on, lambda table, line, is_last: screen.show(f"{table!r}\n{line}", is_last), "Ctrl-C")
    finally:
        output.before_write = before
    return None


def _once(take: Callable[[], Table], reason: str) -> PlainText:
    return PlainText(f"{take()!r}\n{_STILL.format(reason)}")


def _run(
    take: Callable[[], Table],
    goes_on: Callable[[], bool],
    show: Callable[[Table, str, bool], None],
    key: str,
) -> None:
    try:
        while goes_on():
            _show(take, show, f"Live; {key} ends this, and nothing else.", is_last=False)
            time.sleep(INTERVAL_S)
    except KeyboardInterrupt:
        pass
    _show(take, show, time.strftime("As of %H:%M:%S, no longer live."), is_last=True)


def _show(
    take: Callable[[], Table], show: Callable[[Table, str, bool], None], line: str, *, is_last: bool
) -> None:
    # Held back: an interrupt must not leave half of a table.
    with HeldInterrupts():
        show(take(), line, is_last)


def _show_in(area: KernelArea, table: Table, line: str, is_last: bool) -> None:
    area.show_data(
        {
            "text/plain": f"{table!r}\n{line}",
            "text/html": f"{table._repr_html_()}\n<p>{html.escape(line)}</p>",
        }
    )
