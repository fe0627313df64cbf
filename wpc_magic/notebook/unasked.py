"""Tells a cell which of its calls have failed without anybody asking for their results."""

from __future__ import annotations

import queue
import threading
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

from wpc_magic.pool.driver.output import OutputText
from wpc_magic.pool.driver.unasked import UnaskedError
from wpc_magic.pool.options import PRIVATE

from .origins import same_origin

__all__ = ["UnaskedErrors"]

_GATHER_S = 0.1  # what fails together is told together


class UnaskedErrors:
    """Collects errors that nobody has asked for, and writes them under their cells.

    An error is told when its future is gone, or when a later cell has ended and nobody has asked.

    Parameters
    ----------
    write : callable
        Takes an `OutputText`.
    """

    def __init__(self, write: Callable[[OutputText], object]) -> None:
        self._write = write
        # A future may be freed anywhere, also inside of this class: only `SimpleQueue.put` bears that.
        self._arrived: queue.SimpleQueue[tuple[str, str, Any, str] | None] = queue.SimpleQueue()
        self._pending: deque[tuple[str, str, Any, str]] = deque()
        self._open: weakref.WeakSet[UnaskedError] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="wpc-unasked", daemon=True)
        self._thread.start()

    def add(self, error: UnaskedError) -> None:
        """Take note of an error that may not be asked for."""
        if error.name.startswith(PRIVATE):
            error.asked()  # of a cell, which shows its error itself
        elif not error.is_awaited:
            self._open.add(error)

    def tell(self, error: UnaskedError) -> None:
        """Tell an error soon; callable anywhere."""
        self._arrived.put((error.call, error.name, error.origin, error.error))

    def end_cell(self, origin: Any) -> None:
        """Tell what is to be told by now: also errors of earlier cells whose futures are still there."""
        for error in list(self._open):
            if not same_origin(error.origin, origin) and error.origin is not origin:
                error.tell()
                self._open.discard(error)
        if self._pending or not self._arrived.empty():
            # The thread that has settled the last of them may hold it for a moment longer than the cell.
            self._closed.wait(_GATHER_S)
        self.flush()

    def flush(self) -> None:
        """Write what has arrived."""
        while True:
            try:
                arrived = self._arrived.get_nowait()
            except queue.Empty:
                break
            if arrived is not None:
                self._pending.append(arrived)
        with self._lock:
            groups: list[tuple[tuple[str, str, Any, str], int]] = []
            pending = [self._pending.popleft() for _ in range(len(self._pending))]
            for new in sorted(pending, key=lambda each: int(each[0].rpartition("#")[2])):
                for number, (known, count) in enumerate(groups):
                    if known[1] == new[1] and known[2] is new[2] and known[3] == new[3]:
                        groups[number] = known, count + 1
                        break
                else:
                    groups.append((new, 1))
        for (call, _, origin, error), count in groups:
            times = f" (×{count:,})" if count > 1 else ""
            text = f"{call} failed: {error}{times}; nobody asked for its result\n"
            self._write(OutputText(text, origin, "stderr", 0, None))

    def close(self) -> None:
        """Write what has arrived, and stop the thread."""
        self._closed.set()
        self._arrived.put(None)
        self._thread.join()
        self.flush()

    def _run(self) -> None:
        while not self._closed.is_set():
            arrived = self._arrived.get()
            if arrived is not None:
                self._pending.append(arrived)
                self._closed.wait(_GATHER_S)
                self.flush()
