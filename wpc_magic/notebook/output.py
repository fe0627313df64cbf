"""Routes what functions print to the cell that made the call.

::

    worker ── text ──> pool ──> BlockNames ──┬─ redirected, and its cell runs ──> sys.stdout
           │                                 └─ else ──> Flood ──> the kernel's stream, as of its origin
           ├─ displays ──> pool ──┬─ its cell runs here ──> the shell's display publisher
           │                      └─ else ──> a message, with its call's origin as parent
           └─ log records ──> pool ──> the loggers here, while the streams are as of its call's origin
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from wpc_magic.pool.driver.output import (
    OutputDisplay,
    OutputRecord,
    OutputText,
    escaped,
    log_here,
    write_text,
)

from .bars import Bars
from .block_names import BlockNames
from .flood import Flood
from .flood import Text as _Text
from .origins import Origins, parent_variable, same_origin

if TYPE_CHECKING:
    from contextvars import ContextVar

    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["FLUSH_INTERVAL_S", "NotebookOutput"]

FLUSH_INTERVAL_S = 0.05
"""The shortest time between two flushes of buffered text, in seconds: a server drops messages beyond 1,000 a
second."""


class NotebookOutput:
    """The pool's output sink in one shell.

    Parameters
    ----------
    shell : InteractiveShell
        The shell; in a terminal, text is written to ``sys.stdout`` and ``sys.stderr``.
    origins : Origins, optional
        Says which origin the current task and thread have.
    flush_interval_s : float
        For how long text is buffered after a flush, in seconds.

    Attributes
    ----------
    before_write : callable
        Called with each text before it is written in a terminal.

    Notes
    -----
    The output of ``print`` in a background thread appears under the running cell, or under the one that
    started the thread. So text carries the header of the request in which its call was made (`origin`). The
    kernel's streams keep the text of each request apart, and take the request from a context variable: text
    is written with that set, in any thread. So it stays in order with what the request itself prints, and is
    there when something flushes the stream, as an Output widget does at the end of ``with out:``.

    Where a stream has no such variable, text is buffered, and sent as a message with the header as its
    parent. A kernel's ``iopub_socket`` passes messages to the kernel's own output thread in the order in
    which it received them, so any thread may send.
    """

    def __init__(
        self,
        shell: InteractiveShell,
        flush_interval_s: float = FLUSH_INTERVAL_S,
        *,
        origins: Origins | None = None,
    ) -> None:
        self._shell: Any = shell
        self._names = BlockNames()
        self._bars = Bars()
        self._flood = Flood()
        self._origins = origins or Origins(shell)
        self._flush_interval_s = flush_interval_s
        self._kernel: Any = getattr(shell, "kernel", None)
        self._running: Any = None  # the origin of the running cell
        self._streams = {name: _kernels_stream(self._kernel, name) for name in ("stdout", "stderr")}
        self._stream = "stdout"  # the one that was last written to
        self._buffer: deque[_Text] = deque()
        self._sending = threading.Lock()  # dequeuing and sending is one step, so that text stays in order
        self._wake = threading.Event()
        self._closed = threading.Event()
        self.before_write: Callable[[str], object] = lambda text: None
        self._thread: threading.Thread | None = None

    def begin_cell(self) -> Any:
        """Record that a cell begins, and return the origin that its calls carry."""
        self._running = self._origins.begin_cell()
        return self._running

    def end_cell(self) -> None:
        """Flush the buffered text, before the front end is notified that the cell is done."""
        self.flush()
        with self._sending:
            self._running = None

    def __call__(self, output: Any) -> None:
        """Accept an `OutputText` or `OutputDisplay` of the pool, in any thread; never block on a display."""
        if output.origin is None and self._kernel is not None:
            # Of no call, as of a setup. ipykernel 6 would put it under the cell that has started the thread.
            output = output._replace(origin=self._origins.current())
        if isinstance(output, OutputDisplay) and self._kernel is not None:
            self._display(output)
            return
        if getattr(output, "side_by_side", False) is None:  # a warning
            output = output._replace(text=_in_its_cell(self._shell, output.text))
        in_kernel = self._kernel is not None
        captured = in_kernel and self._belongs_here(output) and _is_captured(output.stream)
        if in_kernel and not captured and isinstance(output, OutputText):
            lines, rest = self._bars.take(output)
            for line in lines:
                self._display(line)
            if lines and not rest:
                return
            output = output._replace(text=rest)
        # A message to a front end is UTF-8, which has no half of a surrogate pair.
        text = _Text(output.origin, output.stream, escaped(self._names.named(output)))
        if not in_kernel:
            self._write(text)
        elif captured:
            self._route(text)
        else:
            for each in self._flood.admit(text):
                self._route(each)
            if self._flood.due_s is not None:
                self._wake_thread()

    def log(self, output: OutputRecord) -> None:
        """Pass a log record to the loggers here; what their handlers write belongs to the record's origin."""
        if self._buffer:
            self.flush()
        variables = {id(each): each for _, each in self._streams.values() if each is not None}
        tokens = []
        if isinstance(output.origin, Mapping):
            tokens = [(each, each.set(output.origin)) for each in variables.values()]
        try:
            log_here(output)
        finally:
            for variable, token in tokens:
                variable.reset(token)

    def _display(self, output: OutputDisplay) -> None:
        """Pass on what was displayed, in order with the text."""
        if self._buffer:
            self.flush()
        for stream, _ in self._streams.values():
            _flush(stream)
        content, publisher = output.content, self._shell.display_pub
        captured = getattr(publisher, "session", None) is None  # by `%%capture`
        if self._belongs_here(output) and (captured or _in_main_thread()):
            if output.kind == "clear_output":
                publisher.clear_output(content.get("wait", False))
                return
            publisher.publish(
                content["data"],
                content["metadata"],
                transient=content["transient"],
                update=output.kind == "update_display_data",
            )
            return
        parent = output.origin if isinstance(output.origin, Mapping) else self._origins.current()
        try:
            self._kernel.session.send(
                self._kernel.iopub_socket, output.kind, content, parent=parent, ident=b"display_data"
            )
        except Exception:  # the kernel is shutting down: the cell no longer exists
            pass

    def _route(self, text: _Text) -> None:
        here, captured = self._belongs_here(text), _is_captured(text.stream)
        if not (here and captured) and self._write_as(text):
            return
        if here and (captured or _in_main_thread()):
            # In order with the cell's own prints, and visible to `%%capture` and `redirect_stdout`.
            if self._buffer:
                self.flush()  # earlier text, which another thread has buffered
            self._write(text)
            return
        if self._write_from_thread(text):
            return
        self._buffer.append(text)
        self._wake_thread()

    def _write_as(self, text: _Text) -> bool:
        """Write text to the kernel's stream as of its origin; return whether that is possible."""
        stream, variable = self._streams[text.stream]
        if variable is None or not isinstance(text.origin, Mapping):
            return False
        before, self._stream = self._stream, text.stream
        if before != text.stream:
            _flush(self._streams[before][0])  # each stream buffers, and its text came first
        token = variable.set(text.origin)
        try:
            write_text(stream, text.text)
        except (OSError, ValueError):  # the kernel is shutting down: the cell no longer exists
            pass
        finally:
            variable.reset(token)
        return True

    def _write_from_thread(self, text: _Text) -> bool:
        """Write text of the running cell from another thread, if the stream leads there; return whether so.

        Then the text precedes what the cell prints after it has received the value of the call.
        """
        with self._sending:  # so that the cell does not end, and earlier text is not sent, meanwhile
            if self._buffer or not self._belongs_to_running_cell(text):
                return False
            stream = getattr(sys, text.stream)
            header = getattr(stream, "parent_header", None)  # the cell of a print in this thread
            if not isinstance(header, Mapping) or header.get("msg_id") != self._running.get("msg_id"):
                return False
            write_text(stream, text.text)
            return True

    def _wake_thread(self) -> None:
        self._wake.set()
        if self._thread is None:
            self._start_thread()

    def _start_thread(self) -> None:
        with self._sending:  # two threads may deliver the first text
            if self._thread is None and not self._closed.is_set():
                self._thread = threading.Thread(target=self._run, name="wpc-output", daemon=True)
                self._thread.start()

    def flush(self) -> None:
        """Send the buffered text, and what stands for text that was left out."""
        if self._flood.due_s is not None:
            for each in self._flood.take():
                self._route(each)
        self._send_buffered()

    def _send_buffered(self) -> None:
        with self._sending:
            pending = []
            while self._buffer:
                pending.append(self._buffer.popleft())
            for text in _coalesced(pending):
                self._send(text)

    def close(self) -> None:
        """Send the buffered text, and stop the thread."""
        self._closed.set()
        self._wake.set()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join()
        self.flush()

    def _run(self) -> None:
        while not self._closed.is_set():
            due_s = self._flood.due_s
            self._wake.wait(due_s)
            self._wake.clear()  # before the flush: text that arrives during it wakes the thread again
            if self._flood.due_s == 0.0:
                self.flush()
            else:
                self._send_buffered()
            self._closed.wait(self._flush_interval_s)  # text that arrives meanwhile is sent together

    def _belongs_to_running_cell(self, text: _Text | OutputDisplay) -> bool:
        return same_origin(self._running, text.origin)

    def _belongs_here(self, text: _Text | OutputDisplay) -> bool:
        if self._belongs_to_running_cell(text):
            return True
        # A callback of a widget runs in the main thread, too, while no cell runs.
        if _in_main_thread():
            return same_origin(self._origins.current(), text.origin)
        return self._running is None and same_origin(self._origins.latest(), text.origin)

    def _send(self, text: _Text) -> None:
        kernel = self._kernel
        if kernel is None or not isinstance(text.origin, Mapping):
            self._write(text)
            return
        if self._belongs_to_running_cell(text):
            if _in_main_thread():
                self._write(text)
                return
            # The kernel buffers what the cell itself has printed, and that came first.
            _flush(sys.stdout)
            _flush(sys.stderr)
        try:
            kernel.session.send(
                kernel.iopub_socket,
                "stream",
                {"name": text.stream, "text": text.text},
                parent=text.origin,
                ident=f"stream.{text.stream}".encode(),
            )
        except Exception:  # the kernel is shutting down: the cell no longer exists
            pass

    def _write(self, text: _Text) -> None:
        if self._kernel is None:
            self.before_write(text.text)
        before, self._stream = self._stream, text.stream
        if before != text.stream:
            _flush(getattr(sys, before))  # each stream buffers, and its text came first
        try:
            write_text(getattr(sys, text.stream), text.text)
        except (OSError, ValueError):  # a redirected stream that was closed
            pass
        if self._kernel is None:  # a kernel's streams flush by themselves, and batch
            _flush(getattr(sys, text.stream))


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _in_its_cell(shell: Any, warning: str) -> str:
    """Return the text of a warning with its place as in a traceback: ``Cell In[2], line 4``."""
    place, colon, rest = warning.partition(": ")
    filename, _, line = place.rpartition(":")
    label = getattr(shell.compile, "format_code_name", lambda name: None)(filename)
    return f"{' '.join(label)}, line {line}{colon}{rest}" if label and line.isdigit() else warning


def _is_captured(stream: str) -> bool:
    """Return whether the kernel's stream is redirected to another one."""
    from ipykernel.iostream import OutStream

    return not isinstance(getattr(sys, stream), OutStream)


def _kernels_stream(kernel: Any, name: str) -> tuple[Any, ContextVar[Any] | None]:
    """Return the kernel's own stream, whatever is in its place now, and its variable for the request."""
    for stream in (getattr(kernel, f"_{name}", None), getattr(sys, name)):
        variable = parent_variable(stream)
        if variable is not None:
            return stream, variable
    return getattr(sys, name), None


def _flush(stream: Any) -> None:
    try:
        stream.flush()
    except (OSError, ValueError):  # a redirected stream that was closed
        pass


def _coalesced(pending: list[_Text]) -> list[_Text]:
    coalesced: list[_Text] = []
    for text in pending:
        if coalesced and coalesced[-1][:2] == text[:2]:
            coalesced[-1] = coalesced[-1]._replace(text=coalesced[-1].text + text.text)
        else:
            coalesced.append(text)
    return coalesced
