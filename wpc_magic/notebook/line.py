"""A line in a cell's output that can be changed when the cell has ended long since."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["Line"]


class Line:
    """One line of the cell that runs.

    Parameters
    ----------
    shell : InteractiveShell
        The shell; a terminal cannot change what it shows, so there the line is printed anew.
    origin : mapping
        The header of the cell's request.
    text : str
        What it says at first.
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
        """Have the line say something else; in any thread."""
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
        except Exception:  # the kernel is shutting down: there is no cell any more
            pass

    def _print(self, text: str) -> None:
        try:
            sys.stdout.write(text + "\n")
            sys.stdout.flush()
        except (OSError, ValueError):  # closed by whoever put it there
            pass
