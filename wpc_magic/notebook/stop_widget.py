"""The widget of a button that stops what a card shows: one anywidget, and one comm."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any

import anywidget
import traitlets
from comm.base_comm import BaseComm

from .page_messages import PageMessages
from .page_modules import joined_modules

__all__ = ["StopWidget"]

_STATIC = pathlib.Path(__file__).parent / "static"
_PROTOCOL = "2.1.0"  # of Jupyter's widgets


class _Comm(BaseComm):
    """A comm whose messages belong to no cell.

    So what runs a notebook without a page (nbconvert, papermill) takes no notice of it, and saves no widget;
    and the page's messages go where the page sends them, which may be a subshell: those of the kernel's own
    comms go to the thread that last sent, which may be busy with a cell.
    """

    def __init__(self, kernel: Any, take: Callable[[Any], None], **options: Any) -> None:
        self._kernel = kernel
        self._take = take
        super().__init__(**options)

    def open(self, *args: Any, **options: Any) -> None:
        """Open it to the page, which may answer at once, in another thread: that is taken."""
        self.on_msg(self._take)
        super().open(*args, **options)

    def publish_msg(
        self, msg_type: str, data: Any = None, metadata: Any = None, buffers: Any = None, **keys: Any
    ) -> None:
        """Send a message to the page."""
        content = {"data": data or {}, "comm_id": self.comm_id, **keys}
        self._kernel.session.send(
            self._kernel.iopub_socket,
            msg_type,
            content,
            metadata=metadata or {},
            parent={},
            ident=self.topic,
            buffers=buffers,
        )


class StopWidget(anywidget.AnyWidget):
    """A button.

    Parameters
    ----------
    kernel : ipykernel kernel
        The kernel.
    label : str
        What it stops.
    on_action : callable
        Called with ``"ready"`` when a page has loaded it, and with ``"stop"`` when it is clicked; in any
        thread.
    """

    _esm = joined_modules(_STATIC / "stop.js")
    _css = _STATIC / "stop.css"

    label = traitlets.Unicode().tag(sync=True)
    acked = traitlets.Dict().tag(sync=True)
    layout = traitlets.Any(None).tag(sync=True)  # it would be a widget of its own, with another comm

    def __init__(self, kernel: Any, label: str, on_action: Callable[[str], object]) -> None:
        self._kernel = kernel
        self._on_action = on_action
        self._messages = PageMessages(self._take, self._acknowledge)
        super().__init__(label=label)

    def open(self) -> None:
        """Open the comm to the page."""
        if getattr(self, "comm", None) is None:
            self.on_msg(self._on_message)  # before: the page may answer at once, in another thread
            self.comm = _Comm(
                self._kernel,
                self._handle_msg,
                target_name="jupyter.widget",
                data={"state": self.get_state(), "buffer_paths": []},
                metadata={"version": _PROTOCOL},
            )

    def _on_message(self, _: Any, content: Any, buffers: Any) -> None:
        self._messages.receive(content)

    def _take(self, message: dict[str, Any]) -> None:
        if isinstance(message.get("action"), str):
            self._on_action(message["action"])

    def _acknowledge(self, sender: str, count: int) -> None:
        self.acked = {**self.acked, sender: count}
