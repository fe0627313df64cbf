"""What functions print and show, tagged with its call.

Text is buffered. The end of a line flushes it at once if the last flush is long enough ago, else a thread
flushes it a little later. The rest is flushed before the call's answer, so no text arrives after that.
"""

from __future__ import annotations

import codecs
import io
import os
import sys
import threading
import time

from wpc_magic.pool.wire.protocol import Logged, Printed, Shown, Warned

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import ContextVar
    from typing import Any

    from wpc_magic.pool.wire.protocol import FromWorker

__all__ = ["FLUSH_DELAY_S", "Output", "TaggedStream"]

FLUSH_DELAY_S = 0.05
_MAX_BUFFERED = 1 << 16  # characters


class Output:
    """Buffers the text of both streams, in order.

    Parameters
    ----------
    send : callable
        Takes a message.
    running : callable
        Returns the call to which text without a tag belongs.

    Attributes
    ----------
    tag : ContextVar or None
        The call to which text belongs, where calls interleave; 0 in threads that the call has started.
    lock : threading.RLock
        Held while text is added.
    endings, item_endings : list of callable
        Called with a call's number when it has ended, before its answer; and between the items of a chunk.
        They show what was left open.
    """

    def __init__(self, send: Callable[[FromWorker], None], running: Callable[[], int]) -> None:
        self.tag: ContextVar[int] | None = None
        self.endings: list[Callable[[int], object]] = []
        self.item_endings: list[Callable[[int], object]] = []
        self._send = send
        self._running = running
        self.lock = threading.RLock()  # a signal handler or a finalizer in user code may print
        self._buffer: list[tuple[int, str, str]] = []
        self._size = 0
        self._max_size = _MAX_BUFFERED
        self._flushed_at = 0.0
        # Whether this is called by a signal handler that interrupted a flush. If it flushed, too, and sending
        # took longer than the next signal, which interrupts that flush, the stack would be full in the end.
        self._flushing = False
        self._flush_scheduled = False  # in the thread below
        self._wakeup: threading.Lock | None = None

    def current_call(self) -> int:
        """Return the number of the call whose code is running in this thread."""
        return (self.tag.get() if self.tag is not None else 0) or self._running()

    def write(self, stream: str, text: str) -> None:
        """Buffer text; flush it now, or soon."""
        with self.lock:
            self._buffer.append((self.current_call(), stream, text))
            self._size += len(text)
            if (
                self._size > self._max_size
                or (text.endswith("\n") and time.monotonic() - self._flushed_at > FLUSH_DELAY_S)
            ) and (not self._flushing or self._max_size < 0):
                self.flush()
            elif not self._flush_scheduled:
                self._flush_scheduled = True
                self._schedule_flush()

    @property
    def empty(self) -> bool:
        """Whether there is nothing to send."""
        return not self._buffer

    def flush(self) -> None:
        """Send everything, and join adjacent text of the same call and stream."""
        with self.lock:
            if not self._buffer:
                return
            buffer, self._buffer, self._size = self._buffer, [], 0
            outer, self._flushing = self._flushing, True
            try:
                self._send_texts(buffer)
            finally:
                self._flushing = outer
            self._flushed_at = time.monotonic()

    def _send_texts(self, buffer: list[tuple[int, str, str]]) -> None:
        start = 0
        while start < len(buffer):
            seq, stream, _ = buffer[start]
            end = start + 1
            while end < len(buffer) and buffer[end][:2] == (seq, stream):
                end += 1
            self._send(Printed(seq, stream, "".join(text for _, _, text in buffer[start:end])))
            start = end

    def post(self, message: FromWorker) -> None:
        """Send a message at once, after the text that came first."""
        with self.lock:
            self.flush()
            self._send(message)

    @staticmethod
    def end_all(endings: list[Callable[[int], object]], seq: int) -> None:
        """Show what a call, or an item of it, has left open."""
        for ending in list(endings):
            try:
                ending(seq)
            except Exception:  # of a figure that cannot be drawn, say
                sys.excepthook(*sys.exc_info())

    def detach(self) -> None:
        """Write to the descriptors from now on: this is a forked process, and the channel is the worker's."""
        self.lock = threading.RLock()
        self._buffer, self._size = [], 0  # the worker sends it
        self._max_size = -1  # every write flushes, because a fork has no thread that would flush later
        self._send = _write

    # -- the thread that flushes later ------------------------------------------------------------------

    def _schedule_flush(self) -> None:
        if self._wakeup is None:
            wakeup = threading.Lock()
            wakeup.acquire()
            thread = threading.Thread(
                target=self._flush_later, args=(wakeup,), name="wpc-output", daemon=True
            )
            try:
                thread.start()
            except (RuntimeError, MemoryError):  # no more threads
                self._flush_scheduled = False
                self.flush()
                return
            self._wakeup = wakeup
        self._wakeup.release()

    def _flush_later(self, wakeup: threading.Lock) -> None:
        while True:
            wakeup.acquire()
            time.sleep(FLUSH_DELAY_S)
            with self.lock:
                self._flush_scheduled = False
                self.flush()


def _write(message: FromWorker) -> None:
    if isinstance(message, Printed):
        stream, text = message.stream, message.text
    elif isinstance(message, Shown):
        stream, text = "stdout", str(message.content.get("data", {}).get("text/plain", "")) + "\n"
    elif isinstance(message, Warned):
        stream, text = "stderr", message.text
    elif isinstance(message, Logged):
        stream, text = "stderr", message.record["msg"] + "\n"
    else:
        return
    unwritten = memoryview(text.encode(errors="backslashreplace"))
    while unwritten:
        unwritten = unwritten[os.write(1 if stream == "stdout" else 2, unwritten) :]


class TaggedStream(io.TextIOBase):
    """A text stream that writes to an `Output`, and replaces ``sys.stdout`` or ``sys.stderr``.

    All calls of a worker share it, so it cannot be closed, nor detached from its bytes.

    Parameters
    ----------
    output : Output
        Buffers the text.
    stream : {"stdout", "stderr"}
        Its name.
    original : object
        The stream that it replaces, for the descriptor.

    Attributes
    ----------
    buffer : io.BufferedIOBase
        Takes bytes, and writes them as text, in order with it.
    mode : str
        ``"w"``, as that of the interpreter's own streams.
    """

    def __init__(self, output: Output, stream: str, original: Any) -> None:
        self.mode = "w"
        self.buffer = _TaggedBytes(self, output)
        self._output = output
        self._stream = stream
        self._original = original
        self._encoding, self._errors = "utf-8", "backslashreplace"
        self._newline = "\n"
        self._line_buffering = self._write_through = False
        self._is_plain = True  # none of the three differs from that

    @property
    def name(self) -> str:
        """The stream's name, as that of the interpreter's own streams."""
        return f"<{self._stream}>"

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """UTF-8, or what `reconfigure` was given; text is not encoded before it is shown."""
        return self._encoding

    @property
    def errors(self) -> str:  # type: ignore[override]
        """Characters that cannot be encoded are escaped, whatever `reconfigure` was given."""
        return self._errors

    @property
    def newlines(self) -> None:  # type: ignore[override]
        """None: nothing is read."""

    @property
    def line_buffering(self) -> bool:
        """Whether each end of a line flushes."""
        return self._line_buffering

    @property
    def write_through(self) -> bool:
        """Whether each write flushes."""
        return self._write_through

    def reconfigure(
        self,
        *,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        line_buffering: bool | None = None,
        write_through: bool | None = None,
    ) -> None:
        """Do what `io.TextIOWrapper.reconfigure` does."""
        if encoding is not None:
            codecs.lookup(encoding)
            self._encoding = encoding
        if errors is not None:
            codecs.lookup_error(errors)
            self._errors = errors
        if newline not in (None, "", "\n", "\r", "\r\n"):
            raise ValueError(f"illegal newline value: {newline}")
        self.flush()
        if newline is not None:
            self._newline = newline or "\n"
        if line_buffering is not None:
            self._line_buffering = bool(line_buffering)
        if write_through is not None:
            self._write_through = bool(write_through)
        self._is_plain = not (self._line_buffering or self._write_through or self._newline != "\n")

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, text: str) -> int:
        """Write text.

        Raises
        ------
        TypeError
            If it is not a str.
        """
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        if text:
            if self._is_plain:
                self._output.write(self._stream, text)
            else:
                self._output.write(self._stream, text.replace("\n", self._newline))
                if self._write_through or (self._line_buffering and ("\n" in text or "\r" in text)):
                    self.flush()
        return len(text)

    def flush(self) -> None:
        """Send the buffered text, and flush what was written to the stream that this one replaces."""
        self._output.flush()
        self._original.flush()

    def close(self) -> None:
        """Flush; what is printed later, by this call or another one, is shown as well."""
        self.flush()

    def detach(self) -> Any:
        """Refuse: all calls of this worker share the stream."""
        raise io.UnsupportedOperation(
            f"a worker's sys.{self._stream} cannot be detached; sys.{self._stream}.buffer takes bytes"
        )

    def fileno(self) -> int:
        """Return the descriptor of the original stream."""
        return int(self._original.fileno())

    def isatty(self) -> bool:
        """Return False."""
        return False

    def __repr__(self) -> str:
        return f"<a worker's {self._stream}>"


class _TaggedBytes(io.BufferedIOBase):
    """The ``buffer`` of a `TaggedStream`."""

    def __init__(self, stream: TaggedStream, output: Output) -> None:
        self.mode = "wb"
        self._stream = stream
        self._output = output
        # As the pool decodes what is written to the descriptors.
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    @property
    def name(self) -> str:
        return self._stream.name

    @property
    def raw(self) -> Any:
        return self

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        view = memoryview(data)
        with self._output.lock:  # the decoder keeps the beginning of a character
            self._stream.write(self._decoder.decode(bytes(view)))
        return view.nbytes

    def flush(self) -> None:
        self._stream.flush()

    def close(self) -> None:
        self.flush()

    def detach(self) -> Any:
        raise io.UnsupportedOperation("a worker's output cannot be detached")

    def fileno(self) -> int:
        return self._stream.fileno()

    def isatty(self) -> bool:
        return False

    def __repr__(self) -> str:
        return f"<the bytes of {self._stream!r}>"
