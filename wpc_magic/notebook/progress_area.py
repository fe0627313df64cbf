"""The place under a cell where lines are shown and replaced: a display, or a line of a terminal."""

from __future__ import annotations

import shutil
import sys
import threading
import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from IPython.core.displaypub import CapturingDisplayPublisher

from .origins import same_origin
from .progress_lines import Line, as_html, as_text

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["KernelArea", "TerminalArea", "make_area"]


class KernelArea:
    """A display under a cell, whose content is replaced.

    It is plain HTML and text in a display with an id, and no widget: so the last state stays in the notebook,
    also after a reload, and where nbconvert or papermill runs it.

    Parameters
    ----------
    shell : InteractiveShell
        The shell.
    origin : mapping
        The header of the cell's request.
    """

    def __init__(self, shell: InteractiveShell, origin: Mapping[str, Any]) -> None:
        self._shell: Any = shell
        self._origin = origin
        self._transient = {"display_id": uuid.uuid4().hex}
        self._is_shown = False
        self._last: tuple[dict[str, Any], dict[str, Any]] | None = None

    def show(self, lines: Sequence[Line], is_last: bool) -> None:
        """Replace what is shown; in any thread."""
        self.show_data({"text/plain": as_text(lines), "text/html": as_html(lines)})

    def show_data(self, data: dict[str, Any], metadata: dict[str, Any] | None = None) -> None:
        """Replace what is shown by a bundle; in any thread."""
        self._last = data, metadata or {}
        if not self._is_shown:
            if isinstance(self._shell.display_pub, CapturingDisplayPublisher):
                return  # `%%capture` would keep the first state, and no later one
            self._is_shown = True
            if self._is_current():
                # It flushes what the cell has printed, and an Output widget takes it.
                self._shell.display_pub.publish(data, metadata or {}, transient=self._transient)
                return
            self._send("display_data", data, metadata or {})
        else:
            self._send("update_display_data", data, metadata or {})

    def repeat(self, origin: Any) -> None:
        """Send what is shown again, as an update by another cell.

        What runs a notebook without a front end (nbconvert, papermill) hears the running cell only.
        """
        if self._is_shown and self._last is not None and isinstance(origin, Mapping):
            self._send("update_display_data", *self._last, origin)

    def _is_current(self) -> bool:
        """Whether what is published here and now is the cell's own."""
        if threading.current_thread() is not threading.main_thread():
            return False
        parent: dict[str, Any] = getattr(self._shell, "get_parent", dict)() or {}
        return same_origin(parent.get("header"), self._origin)

    def _send(self, kind: str, data: dict[str, Any], metadata: dict[str, Any], origin: Any = None) -> None:
        kernel = self._shell.kernel
        content = {"data": data, "metadata": metadata, "transient": self._transient}
        try:
            kernel.session.send(
                kernel.iopub_socket, kind, content, parent=origin or self._origin, ident=kind.encode()
            )
        except Exception:  # the kernel is shutting down: the cell no longer exists
            pass


class TerminalArea:
    """A line of a terminal that rewrites itself; where the output is no terminal, only the last one is shown.

    Parameters
    ----------
    stream : text stream, optional
        The terminal; by default ``sys.stdout`` as it is then.
    """

    def __init__(self, stream: Any = None) -> None:
        self._stream = stream
        self._lock = threading.RLock()
        self._text = ""  # on the screen now, at the end
        self._begins_line = True  # nothing else stands in its line

    def show(self, lines: Sequence[Line], is_last: bool) -> None:
        """Replace what is shown; `is_last`: the next text begins on a new line."""
        stream = self._stream or sys.stdout
        try:
            if not stream.isatty():
                if is_last and lines:
                    stream.write(as_text(lines[-1:]) + "\n")
                return
            text = as_text(lines[-1:]) if is_last else " │ ".join(map(as_text, ([each] for each in lines)))
            text = text.replace("\n", " ")[: shutil.get_terminal_size().columns - 1]
            with self._lock:
                before = "\r\x1b[K" if self._begins_line else "\n"
                self._text, self._begins_line = "" if is_last else text, True
                stream.write(before + text + "\n" * is_last)
                stream.flush()
        except (OSError, ValueError):  # it was closed
            pass

    def make_room(self, text: str) -> None:
        """Remove the line, since `text` is about to be written; the next `show` brings it again."""
        with self._lock:
            self._begins_line = text.endswith("\n")
            if self._text:
                self._text = ""
                try:
                    (self._stream or sys.stdout).write("\r\x1b[K")
                except (OSError, ValueError):
                    pass


def make_area(shell: InteractiveShell, origin: Any) -> KernelArea | TerminalArea:
    """Return the place under the cell with this origin."""
    if getattr(shell, "kernel", None) is None or not isinstance(origin, Mapping):
        return TerminalArea()
    return KernelArea(shell, origin)
