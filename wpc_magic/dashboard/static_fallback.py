"""The static fallback of a notebook without its kernel: the last frame, as HTML, in a separate output.

The widget's own output cannot hold it: if JupyterLab trusts a widget but does not find its model, it shows
"model not found" whatever else the output holds. So a second output follows the widget, is hidden as long as
the widget exists, and is replaced at intervals while the frame changes.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from .static_view import StaticView
from .view import EMPTY, Frame

__all__ = ["MAX_AGE_S", "PICTURE_AGE_S", "StaticFallback"]

MAX_AGE_S = 5.0
"""How old the fallback may be while the frame changes, in seconds."""

PICTURE_AGE_S = 30.0
"""How old its picture may be, which costs more."""


class StaticFallback:
    """The HTML output under a dashboard.

    Parameters
    ----------
    kernel : ipykernel kernel or None
        Sends the updates; None: there is no notebook.
    name : str
        The pool's.
    picture : callable
        Returns the timeline as SVG; empty: there is none.
    """

    def __init__(self, kernel: Any, name: str, picture: Callable[[], str] = str) -> None:
        self._kernel = kernel
        self._name = name
        self._take_picture = picture
        self._picture = ""
        self._picture_at: float | None = None
        self.id = uuid.uuid4().hex
        self._displayed = False
        self._saved: Frame = EMPTY
        self._saved_at = 0.0

    def bundle(self, frame: Frame, now: float, last: bool = False) -> dict[str, str]:
        """Return the MIME bundle that the notebook saves.

        Parameters
        ----------
        frame : Frame
            The frame to show.
        now : float
            The time, in seconds of the epoch.
        last : bool
            Whether no other follows.
        """
        self._displayed, self._saved, self._saved_at = True, frame, now
        if last or self._picture_at is None or now - self._picture_at >= PICTURE_AGE_S:
            self._picture, self._picture_at = self._take_picture(), now
        # Without the widget, its output is an error, which this CSS hides; with it, the widget hides this
        # one.
        above = f".jp-OutputArea-child:not(:has(.wpc-dashboard)):has(+ * .wpc-fallback-{self.id})"
        return {
            "text/plain": f"<last frame of {self._name}>",
            "text/html": f'<div class="wpc-fallback-{self.id}"><style>{above} {{ display: none }}</style>\n'
            f"{StaticView(frame, now)._repr_html_()}\n{self._picture}</div>",
        }

    def update(self, frame: Frame, now: float, last: bool = False) -> None:
        """Replace what the notebook saves, if it is outdated.

        Parameters
        ----------
        frame : Frame
            The last frame.
        now : float
            The time, in seconds of the epoch.
        last : bool
            Whether no update follows.
        """
        due = last or now - self._saved_at >= MAX_AGE_S
        if not (self._displayed and due) or self._kernel is None or _same(frame, self._saved):
            return
        content = {
            "data": self.bundle(frame, now, last),
            "metadata": {},
            "transient": {"display_id": self.id},
        }
        # Without a parent, since it does not belong to the running cell; and nbval does not support updates.
        self._kernel.session.send(
            self._kernel.iopub_socket, "update_display_data", content, parent={}, ident=b"display_data"
        )


def _same(a: Frame, b: Frame) -> bool:
    """Return whether two frames differ in memory and processor use only: that is not worth an update."""
    return (
        a["events"] == b["events"]
        and a["pool"] == b["pool"]
        and _without_readings(a["workers"]) == _without_readings(b["workers"])
    )


def _without_readings(rows: list[Any]) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key not in ("memory", "cpu")} for row in rows]
