"""What functions print, tagged with its call.

Text is gathered. A line that ends while the last text is a while ago goes on its way at once, else a thread
sends it a moment later; what is left goes out before the call's answer, so nothing arrives after it.
"""

from __future__ import annotations

import io
import os
import threading
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import ContextVar
    from typing import Any

__all__ = ["GATHER_S", "Output", "Tagged"]

GATHER_S = 0.05
_MOST = 1 << 16  # characters that are gathered before they are sent in any case


class Output:
    """Gathers text from both streams, in order.

    Parameters
    ----------
    send : callable
        Given a call's number, a stream's name and a text.
    running : callable
        Returns the call to which text without a tag belongs.

    Attributes
    ----------
    tag : ContextVar or None
        Holds the call to which text belongs, where calls interleave; 0 in threads that the call has started.
    """

    def __init__(self, send: Callable[[int, str, str], None], running: Callable[[], int]) -> None:
        self.tag: ContextVar[int] | None = None
        self._send = send
        self._running = running
        self._lock = threading.RLock()  # a signal handler of the user's, or a finalizer, may print
        self._gathered: list[tuple[int, str, str]] = []
        self._size = 0
        self._most = _MOST
        self._sent_at = 0.0
        self._due = False  # the thread below will flush
        self._alarm: threading.Lock | None = None

    def caller(self) -> int:
        """Return the number of the call whose code asks."""
        return (self.tag.get() if self.tag is not None else 0) or self._running()

    def write(self, stream: str, text: str) -> None:
        """Take text; send it now, or soon."""
        with self._lock:
            self._gathered.append((self.caller(), stream, text))
            self._size += len(text)
            if self._size > self._most or (
                text.endswith("\n") and time.monotonic() - self._sent_at > GATHER_S
            ):
                self.flush()
            elif not self._due:
                self._due = True
                self._ring()

    @property
    def empty(self) -> bool:
        """Whether there is nothing to send."""
        return not self._gathered

    def flush(self) -> None:
        """Send everything, joined where neighbours belong together."""
        with self._lock:
            if not self._gathered:
                return
            gathered, self._gathered, self._size = self._gathered, [], 0
            start = 0
            while start < len(gathered):
                seq, stream, _ = gathered[start]
                end = start + 1
                while end < len(gathered) and gathered[end][:2] == (seq, stream):
                    end += 1
                self._send(seq, stream, "".join(text for _, _, text in gathered[start:end]))
                start = end
            self._sent_at = time.monotonic()

    def detach(self) -> None:
        """Write straight to the descriptors from now on: this is a fork, and the channel is its parent's."""
        self._lock = threading.RLock()
        self._gathered, self._size = [], 0  # the parent sends it
        self._most = -1  # the thread that would flush later is not here
        self._send = _write

    # -- the thread that flushes later ------------------------------------------------------------------

    def _ring(self) -> None:
        if self._alarm is None:
            alarm = threading.Lock()
            alarm.acquire()
            threading.Thread(target=self._flush_later, args=(alarm,), name="wpc-output", daemon=True).start()
            self._alarm = alarm
        self._alarm.release()

    def _flush_later(self, alarm: threading.Lock) -> None:
        while True:
            alarm.acquire()
            time.sleep(GATHER_S)
            with self._lock:
                self._due = False
                self.flush()


def _write(seq: int, stream: str, text: str) -> None:
    left = memoryview(text.encode(errors="backslashreplace"))
    while left:
        left = left[os.write(1 if stream == "stdout" else 2, left) :]


class Tagged(io.TextIOBase):
    """A text stream over `Output`, in the place of ``sys.stdout`` or ``sys.stderr``.

    Parameters
    ----------
    output : Output
        Where text goes.
    stream : {"stdout", "stderr"}
        Its name.
    below : object
        The stream that was there before; its descriptor stays the descriptor.
    """

    def __init__(self, output: Output, stream: str, below: Any) -> None:
        self._output = output
        self._stream = stream
        self._below = below

    @property
    def name(self) -> str:
        """The stream's name, as the interpreter's own streams have it."""
        return f"<{self._stream}>"

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Always UTF-8."""
        return "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]
        """Characters without an encoding are escaped."""
        return "backslashreplace"

    @property
    def buffer(self) -> Any:
        """The binary stream below, for those who write bytes."""
        return self._below.buffer

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, text: str) -> int:
        """Take text.

        Raises
        ------
        TypeError
            If it is not a str.
        """
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        if text:
            self._output.write(self._stream, text)
        return len(text)

    def flush(self) -> None:
        """Send what is gathered, and what was written as bytes."""
        self._output.flush()
        self._below.flush()

    def fileno(self) -> int:
        """Return the descriptor of the stream below."""
        return int(self._below.fileno())

    def isatty(self) -> bool:
        """Return False."""
        return False
