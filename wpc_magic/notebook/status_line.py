"""A line in a cell's output that can be updated after the cell has ended."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["StatusLine"]


class StatusLine:
    """One line in the output of the running cell.

    Parameters
    ----------
    shell : InteractiveShell
        The shell; a terminal cannot update what it shows, so there the line is printed again.
    origin : mapping
        The header of the cell's request.
    text : str
        The initial text.
    """

    def __init__(self, shell: InteractiveShell, origin: Mapping[str, Any], text: str) -> None:
        self._kernel: Any = getattr(shell, "kernel", None)
        self._origin = origin
        self._transient = {"display_id": uuid.uuid4().hex}
        if self._kernel is None:
            self._print(text)
        else:
            publisher: Any = shell.display_pub
            publisher.publish({"text/plain": text}, transient=self._transient)

    def change(self, text: str) -> None:
        """Replace the text of the line; in any thread."""
        if self._kernel is None:
            self._print(text)
            return
        content = {"data": {"text/plain": text}, "metadata": {}, "transient": self._transient}
        try:
            self._kernel.session.send(
                self._kernel.iopub_socket,
                "update_display_data",
                content,
                parent=self._origin,
                ident=b"update_display_data",
            )
        except Exception:  # the kernel is shutting down: the cell no longer exists
            pass

    def _print(self, text: str) -> None:
        try:
            sys.stdout.write(text + "\n")
            sys.stdout.flush()
        except (OSError, ValueError):  # a redirected stream that was closed
            pass
