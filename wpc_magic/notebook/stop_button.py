"""A button under a card, as long as there is something to stop.

::

    the cards' thread ── comm_open ──> a page loads the widget, if there is a page
    the page ── "ready" ──> an output with the button, under the cell
    a click ── "stop" ──> the call is cancelled
    the cards' thread, at the end ──> the output is empty, and the comm is closed

The button is an output of its own, so that the card stays plain HTML; and where no page answers (nbconvert,
papermill, nbval), there never is one.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from .progress_area import KernelArea

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from .stop_widget import StopWidget

__all__ = ["StopButton"]

_VIEW = "application/vnd.jupyter.widget-view+json"
_PATIENCE = 2  # updates of a card before it gets a button: most calls have ended by then


class StopButton:
    """A button that stops one call.

    Parameters
    ----------
    shell : InteractiveShell
        The shell of a kernel.
    origin : mapping
        The header of the request of the cell under which it is shown.
    label : str
        What it stops.
    stop : callable
        Stops it; called in any thread.
    """

    def __init__(
        self,
        shell: InteractiveShell,
        origin: Mapping[str, Any],
        label: str,
        stop: Callable[[], object],
    ) -> None:
        self._shell: Any = shell
        self._origin = origin
        self._label = label
        self._stop = stop
        self._lock = threading.Lock()
        self._widget: StopWidget | None = None
        self._area: KernelArea | None = None  # where it is shown, while it is
        self._patience = _PATIENCE
        self._is_over = False
        self._id = f"wpc-card-{uuid.uuid4().hex[:12]}"

    @property
    def style(self) -> str:
        """What the card has to say in its HTML while the button is there.

        A notebook that is saved then, and opened without its kernel, has no button but an error in its
        place, which this hides.
        """
        if self._area is None:
            return ""
        output = ".jp-OutputArea-child"
        # A widget without its model is text in a node of no MIME type.
        dead = ":has(> .jp-OutputArea-output:not([data-mime-type])):not(:has(> .jp-OutputArea-output > *))"
        rule = f"{output}:has(.{self._id}) ~ {output}{dead} {{ display: none }}"
        return f'<style class="{self._id}">{rule}</style>'

    def offer(self) -> None:
        """Have pages load the button, if the call goes on for a while; not in the main thread."""
        if self._patience:
            self._patience -= 1
        elif self._widget is None and not self._is_over:
            from .stop_widget import StopWidget  # it takes a while, and most sessions never need it

            with self._lock:
                try:
                    self._widget = StopWidget(self._shell.kernel, self._label, self._on_action)
                except Exception:  # the kernel is shutting down: the card says what to type
                    self._is_over = True

    def _on_action(self, action: str) -> None:
        if action == "ready":
            self._show()
        elif action == "stop":
            self._stop()

    def _show(self) -> None:
        with self._lock:
            if self._widget is None or self._area is not None:
                return
            area = KernelArea(self._shell, self._origin)
            view = {"version_major": 2, "version_minor": 0, "model_id": self._widget.model_id}
            area.show_data({"text/plain": "", _VIEW: view})
            self._area = area

    def withdraw(self) -> None:
        """Remove it; it does not come again."""
        with self._lock:
            self._is_over = True
            widget, self._widget = self._widget, None
            area, self._area = self._area, None
            if area is not None:
                area.show_data({"text/plain": "", "text/html": ""})
            if widget is not None:
                widget.close()
