"""What functions print, on its way to where it is shown."""

from __future__ import annotations

import sys
import threading
from _thread import get_ident
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

__all__ = ["LastWords", "OutputText", "Texts", "write_out"]

_KEPT = 4000  # characters of what a worker has printed last
_LINES = 20


class OutputText(NamedTuple):
    """Text that a function printed.

    Parameters
    ----------
    text : str
        The text; several lines, or a part of one.
    origin : object
        What the pool's `origin` was when the call was made.
    stream : {"stdout", "stderr"}
        Where it was written.
    worker_id : int
        The slot.
    call_id : int or None
        The call; None: it was written when none ran.
    """

    text: str
    origin: Any
    stream: str
    worker_id: int
    call_id: int | None


def write_out(output: OutputText) -> None:
    """Write text where this process writes its own."""
    stream = sys.stdout if output.stream == "stdout" else sys.stderr
    if stream is not None:
        stream.write(output.text)
        stream.flush()


class Texts:
    """Keeps texts in order, and gives them to the sink one at a time.

    Attributes
    ----------
    sink : callable
        Takes each text, in a thread that waits for a call, or one of its own; never under the driver's lock.
    waiting : deque
        What the sink has not been given yet.
    """

    def __init__(self) -> None:
        self.sink: Callable[[OutputText], object] = write_out
        self.waiting: deque[OutputText] = deque()
        self._delivering = threading.Lock()
        self._by = 0  # the thread that gives texts to the sink now

    def add(self, text: OutputText) -> None:
        """Take a text; nothing is done with it yet."""
        self.waiting.append(text)

    def deliver(self) -> None:
        """Give all texts to the sink; if another thread is about it, that one takes ours along."""
        while self.waiting and self._delivering.acquire(blocking=False):
            try:
                self._give()
            finally:
                self._delivering.release()

    def disown(self) -> None:
        """Show nothing in a fork: what waits is shown where it belongs."""
        self.waiting.clear()
        self._delivering, self._by = threading.Lock(), 0

    def finish(self) -> None:
        """Return when the sink has been given all texts, by whichever thread."""
        if (self.waiting or self._by) and self._by != get_ident():  # else the sink itself waits for a call
            with self._delivering:
                self._give()

    def _give(self) -> None:
        self._by = get_ident()
        try:
            while self.waiting:
                text = self.waiting.popleft()
                try:
                    self.sink(text)
                except Exception:  # a display must not break a call
                    pass
        finally:
            self._by = 0


class LastWords:
    r"""The last that the calls of a worker have printed.

    Examples
    --------
    >>> words = LastWords()
    >>> words.add(7, "one\ntwo\n")
    >>> words.add(8, "three\n")
    >>> words.of(7)
    'one\ntwo\n'
    """

    def __init__(self) -> None:
        self._texts: deque[tuple[int | None, str]] = deque()
        self._size = 0

    def add(self, call_id: int | None, text: str) -> None:
        """Take a text."""
        text = text[-_KEPT:]
        self._texts.append((call_id, text))
        self._size += len(text)
        while self._size > _KEPT:
            self._size -= len(self._texts.popleft()[1])

    def of(self, call_id: int) -> str:
        """Return the last lines that a call has printed."""
        text = "".join(text for whose, text in self._texts if whose == call_id)
        return "".join(text.splitlines(keepends=True)[-_LINES:])
