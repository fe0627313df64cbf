"""Text that functions print, brought to the cell that made the call.

::

    worker ── text ──> pool ──> NotebookOutput ──┬─ the cell still runs ──> sys.stdout
                                                 └─ else: gathered ── "wpc-output" ──> message to that cell
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["GATHER_S", "NotebookOutput"]

GATHER_S = 0.05
"""What comes so soon after other text, in seconds, is gathered: a server drops what goes beyond 1,000
messages a second."""


class _Text(NamedTuple):
    origin: Any
    stream: str
    text: str


class NotebookOutput:
    """The pool's output sink in one shell.

    Parameters
    ----------
    shell : InteractiveShell
        The shell; in a terminal, text is written to ``sys.stdout`` and ``sys.stderr``.
    gather_s : float
        For how long text is gathered after other text has gone out, in seconds.

    Notes
    -----
    What ``print`` does in a background thread lands under whatever cell runs, or under the one that started
    the thread. So text carries the header of the request that its call was made in (`origin`), and goes out
    as a message with that header as its parent. A kernel's ``iopub_socket`` hands messages to the kernel's
    own output thread, in the order in which they were given, so any thread may send.
    """

    def __init__(self, shell: InteractiveShell, gather_s: float = GATHER_S) -> None:
        self._shell = shell
        self._gather_s = gather_s
        self._kernel: Any = getattr(shell, "kernel", None)
        self._running: Any = None  # the header of the cell that runs now
        self._cells = 0
        self._stream = "stdout"  # the one that was written to last
        self._gathered: deque[_Text] = deque()
        self._sending = threading.Lock()  # one at a time takes and sends, so that text stays in order
        self._wake = threading.Event()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def begin_cell(self) -> Any:
        """Note that a cell begins, and return what its calls are to carry as their origin."""
        parent: Mapping[str, Any] = getattr(self._shell, "get_parent", dict)()
        # The header is enough for an answer; the rest is the whole text of the cell.
        self._running = dict(parent.get("header") or {})
        if self._kernel is None:
            self._cells += 1
            self._running["cell"] = self._cells  # so that its calls are told from those of other cells
        return self._running

    def end_cell(self) -> None:
        """Bring what is gathered to its cell, before that is told that it is done."""
        self.flush()
        with self._sending:
            self._running = None

    def __call__(self, output: Any) -> None:
        """Take an `OutputText` from the pool, in any thread; never wait for a display."""
        text = _Text(output.origin, output.stream, output.text)
        at_home = _in_main_thread() or _is_captured(text.stream)
        if self._kernel is None or (at_home and self._is_of_running(text)):
            # In its place among the cell's own prints, and seen by `%%capture` and `redirect_stdout`.
            if self._gathered:
                self.flush()  # another thread has brought what came before
            self._write(text)
            return
        if self._write_beside(text):
            return
        self._gathered.append(text)
        self._wake.set()
        if self._thread is None:
            self._start_thread()

    def _write_beside(self, text: _Text) -> bool:
        """Write text of the running cell from another thread, if that gets there; return whether it does.

        So it stands before what the cell prints once it has the value of the call.
        """
        with self._sending:  # meanwhile the cell does not end, and text that came before does not go out
            if self._gathered or not self._is_of_running(text):
                return False
            stream = getattr(sys, text.stream)
            header = getattr(stream, "parent_header", None)  # where a print in this thread would go
            if not isinstance(header, Mapping) or header.get("msg_id") != self._running.get("msg_id"):
                return False
            stream.write(text.text)
            return True

    def _start_thread(self) -> None:
        with self._sending:  # two threads may bring the first text
            if self._thread is None and not self._closed.is_set():
                self._thread = threading.Thread(target=self._run, name="wpc-output", daemon=True)
                self._thread.start()

    def flush(self) -> None:
        """Send what is gathered."""
        with self._sending:
            waiting = []
            while self._gathered:
                waiting.append(self._gathered.popleft())
            for text in _joined(waiting):
                self._send(text)

    def close(self) -> None:
        """Send what is gathered, and end the thread."""
        self._closed.set()
        self._wake.set()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join()
        self.flush()

    def _run(self) -> None:
        while not self._closed.is_set():
            self._wake.wait()
            self._wake.clear()  # before the flush: what comes while it runs wakes the thread again
            self.flush()
            self._closed.wait(self._gather_s)  # what comes meanwhile goes together

    def _is_of_running(self, text: _Text) -> bool:
        running, origin = self._running, text.origin
        return bool(running) and isinstance(origin, Mapping) and origin.get("msg_id") == running.get("msg_id")

    def _send(self, text: _Text) -> None:
        kernel = self._kernel
        if kernel is None or not text.origin:
            self._write(text)
            return
        if self._is_of_running(text):
            if _in_main_thread():
                self._write(text)
                return
            _flush(
                "stdout"
            )  # a kernel keeps what the cell itself has printed for a moment, and it came before
            _flush("stderr")
        try:
            kernel.session.send(
                kernel.iopub_socket,
                "stream",
                {"name": text.stream, "text": text.text},
                parent=text.origin,
                ident=f"stream.{text.stream}".encode(),
            )
        except Exception:  # the kernel is shutting down: there is no cell any more
            pass

    def _write(self, text: _Text) -> None:
        before, self._stream = self._stream, text.stream
        if before != text.stream:
            _flush(before)  # each keeps text for a moment, and this one comes after
        try:
            getattr(sys, text.stream).write(text.text)
        except (OSError, ValueError):  # closed by whoever put it there
            pass
        if self._kernel is None:  # a kernel's streams do it often enough, and gather what goes together
            _flush(text.stream)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _is_captured(stream: str) -> bool:
    """Tell whether somebody has put a stream of their own in the place of the kernel's."""
    from ipykernel.iostream import OutStream

    return not isinstance(getattr(sys, stream), OutStream)


def _flush(stream: str) -> None:
    try:
        getattr(sys, stream).flush()
    except (OSError, ValueError):  # closed by whoever put it there
        pass


def _joined(waiting: list[_Text]) -> list[_Text]:
    joined: list[_Text] = []
    for text in waiting:
        if joined and joined[-1][:2] == text[:2]:
            joined[-1] = joined[-1]._replace(text=joined[-1].text + text.text)
        else:
            joined.append(text)
    return joined
