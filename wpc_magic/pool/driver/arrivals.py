"""What functions print and show, from the messages of workers to the queue for the sink."""

from __future__ import annotations

from collections import deque
from typing import Any

from ..core.calls import Call
from ..core.state import State
from ..wire import protocol
from .link import Link
from .output import OutputDisplay, OutputQueue, OutputRecord, OutputText

__all__ = ["Arrivals"]

_ORIGINS = 64
_WARNINGS = 1000  # of one origin that are remembered


class Arrivals:
    """Adds to each output where it belongs. All methods are called under the driver's lock.

    Parameters
    ----------
    state : State
        Knows which calls were sent to which worker.
    output : OutputQueue
        Takes the output.
    """

    def __init__(self, state: State, output: OutputQueue) -> None:
        self._state = state
        self._output = output
        self._warned: deque[tuple[Any, dict[str, None]]] = deque(maxlen=_ORIGINS)

    def take(self, link: Link, message: Any) -> None:
        """Take a `Printed`, `Shown`, `Warned` or `Logged`."""
        call = link.slot.sent.get(message.seq)
        match message:
            case protocol.Printed(_, stream, text):
                self.print(link, call, stream, text)
            case protocol.Warned(_, text):
                if self._is_first(None if call is None else call.origin, text):
                    self._print(link, call, "stderr", text, side_by_side=None)
            case protocol.Shown(_, kind, content):
                text = _plain_text(content)
                link.recent_output.add(None if call is None else call.id, text)
                self._output.add(OutputDisplay(text, *_place(link, call, "stdout"), kind, content))
            case protocol.Logged(_, record):
                about = {"worker_id": link.slot.id, "call": "" if call is None else str(call)}
                text = f"{record['msg']}\n"
                link.recent_output.add(None if call is None else call.id, text)
                self._output.add(OutputRecord(text, *_place(link, call, "stderr"), {**record, **about}))

    def print(self, link: Link, call: Call | None, stream: str, text: str) -> None:
        """Take text that a worker has written."""
        side_by_side = call is not None and self._is_side_by_side(link, call.origin, text)
        self._print(link, call, stream, text, side_by_side)

    def _print(
        self, link: Link, call: Call | None, stream: str, text: str, side_by_side: bool | None
    ) -> None:
        place = _place(link, call, stream)
        self._output.add(OutputText(text, *place, side_by_side))
        link.recent_output.add(place[3], text)

    def _is_side_by_side(self, link: Link, origin: Any, text: str) -> bool:
        if origin is not None and text.startswith("\r") and len(self._state.slots) > 1:
            return True  # the line is written again, when another worker may have begun
        return origin is not None and any(
            each.origin is origin or each.origin == origin
            for slot in self._state.slots.values()
            if slot is not link.slot
            for each in slot.sent.values()
        )

    def _is_first(self, origin: Any, text: str) -> bool:
        """Return whether a warning is the first of its text among the calls of an origin."""
        texts = next((each for known, each in self._warned if known is origin or known == origin), None)
        if texts is None:
            texts = {}
            self._warned.append((origin, texts))
        if text in texts:
            return False
        if len(texts) >= _WARNINGS:
            del texts[next(iter(texts))]
        texts[text] = None
        return True


def _place(link: Link, call: Call | None, stream: str) -> tuple[Any, str, int, int | None]:
    origin, number = (None, None) if call is None else (call.origin, call.id)
    return origin, stream, link.slot.id, number


def _plain_text(content: dict[str, Any]) -> str:
    data = content.get("data")
    text = data.get("text/plain") if isinstance(data, dict) else None
    return f"{text}\n" if isinstance(text, str) else ""
