"""The stop button while a cell awaits: SIGINT wakes the event loop.

The stop button sends SIGINT to the kernel, whose handler schedules the cancellation of the cell in the event
loop. But an idle loop keeps sleeping: the cancellation is delayed until the awaited call has completed. A
byte that the signal writes to a descriptor of the loop wakes it at once; see `signal.set_wakeup_fd`.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import threading

__all__ = ["SignalWakeup"]


class SignalWakeup:
    """Makes signals wake the event loop of the main thread, unless a wakeup descriptor is set already."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ends: tuple[socket.socket, socket.socket] | None = None

    def install(self) -> None:
        """Install in the running loop; a no-op without one, or in another thread."""
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

    def uninstall(self) -> None:
        """Uninstall; keep a descriptor that other code has set since."""
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
