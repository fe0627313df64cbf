"""The stop button while a cell awaits: SIGINT wakes the event loop.

At the stop button a kernel gets SIGINT, and its handler asks the event loop to cancel the cell. But a loop in
which nothing else happens sleeps on: the request waits until the call that is awaited has ended by itself. A
signal's byte on a descriptor that the loop reads wakes it at once; see `signal.set_wakeup_fd`.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import threading

__all__ = ["WakeOnSignal"]


class WakeOnSignal:
    """Has signals wake the event loop of the main thread; where another one does so already, nothing."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ends: tuple[socket.socket, socket.socket] | None = None

    def put_in(self) -> None:
        """Begin, in the loop that runs now; nothing happens without one, or in another thread."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        if self._ends is not None or threading.current_thread() is not threading.main_thread():
            return
        ends = socket.socketpair()
        for end in ends:
            end.setblocking(False)
        before = signal.set_wakeup_fd(ends[1].fileno(), warn_on_full_buffer=False)
        if before != -1:
            signal.set_wakeup_fd(before)
            _close(ends)
            return
        self._loop, self._ends = loop, ends
        loop.add_reader(ends[0], self._drain)

    def _drain(self) -> None:
        assert self._ends is not None
        try:
            while self._ends[0].recv(4096):
                pass
        except BlockingIOError:
            pass

    def take_out(self) -> None:
        """End; a descriptor that another one has set since stays."""
        if self._ends is None or self._loop is None:
            return
        ends, self._ends = self._ends, None
        current = signal.set_wakeup_fd(-1)
        if current not in (-1, ends[1].fileno()):
            signal.set_wakeup_fd(current)
        if not self._loop.is_closed():
            self._loop.remove_reader(ends[0])
        _close(ends)


def _close(ends: tuple[socket.socket, socket.socket]) -> None:
    for end in ends:
        end.close()
