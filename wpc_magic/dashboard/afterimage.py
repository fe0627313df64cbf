"""What stays in the notebook when the kernel is gone: the last frame, as HTML, in an output of its own.

A widget's own output cannot hold it. JupyterLab shows a widget that it trusts and does not find as "model not
found", whatever else the output holds. So a second output stands under the widget, out of sight as long as
there is a widget, and is replaced now and then while things change.
"""

from __future__ import annotations

import uuid
from typing import Any

from .text import Still
from .view import EMPTY, Frame

__all__ = ["KEEP_S", "Afterimage"]

KEEP_S = 5.0
"""How old the picture in the notebook may be while things change, in seconds."""


class Afterimage:
    """The HTML output under a dashboard.

    Parameters
    ----------
    kernel : ipykernel kernel or None
        Who sends; None: nobody, there is no notebook.
    name : str
        The pool's.
    """

    def __init__(self, kernel: Any, name: str) -> None:
        self._kernel = kernel
        self._name = name
        self.id = uuid.uuid4().hex
        self._displayed = False
        self._kept: Frame = EMPTY
        self._kept_at = 0.0

    def bundle(self, frame: Frame, now: float) -> dict[str, str]:
        """Return what the notebook keeps.

        Parameters
        ----------
        frame : Frame
            What to show.
        now : float
            The time, in seconds of the epoch.
        """
        self._displayed, self._kept, self._kept_at = True, frame, now
        # Without its widget there is an error where that was; with it, the widget hides this output.
        above = f".jp-OutputArea-child:not(:has(.wpc-dashboard)):has(+ * .wpc-still-{self.id})"
        return {
            "text/plain": f"<last frame of {self._name}>",
            "text/html": f'<div class="wpc-still-{self.id}"><style>{above} {{ display: none }}</style>\n'
            f"{Still(frame, now)._repr_html_()}</div>",
        }

    def update(self, frame: Frame, now: float, ending: bool = False) -> None:
        """Replace what the notebook keeps, if it is old.

        Parameters
        ----------
        frame : Frame
            The last one.
        now : float
            The time, in seconds of the epoch.
        ending : bool
            Whether this is the last chance.
        """
        due = ending or now - self._kept_at >= KEEP_S
        if not (self._displayed and due) or self._kernel is None or _same(frame, self._kept):
            return
        content = {
            "data": self.bundle(frame, now),
            "metadata": {},
            "transient": {"display_id": self.id},
        }
        # It belongs to no cell: one that runs now would be held for its author, and nbval knows no updates.
        self._kernel.session.send(
            self._kernel.iopub_socket, "update_display_data", content, parent={}, ident=b"display_data"
        )


def _same(a: Frame, b: Frame) -> bool:
    """Tell whether two frames differ by no more than memory and processor: that changes no notebook."""
    return (
        a["events"] == b["events"] and a["pool"] == b["pool"] and _calm(a["workers"]) == _calm(b["workers"])
    )


def _calm(rows: list[Any]) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key not in ("memory", "cpu")} for row in rows]
