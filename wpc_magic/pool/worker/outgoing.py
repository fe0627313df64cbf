"""The worker's end of the call channel: what it sends, from any thread."""

from __future__ import annotations

import threading

from wpc_magic.pool.wire import protocol
from wpc_magic.pool.wire.channel import frame, send_all
from wpc_magic.pool.wire.codec import pack
from wpc_magic.pool.worker.outcomes import describe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket  # without its Python half, which `socket.socket` adds
    from collections.abc import Callable
    from typing import Any

    from wpc_magic.pool.wire.channel import Bytes

__all__ = ["Outgoing"]


class Outgoing:
    """Sends frames to the pool. Any thread may call its methods, also within another one of them.

    Parameters
    ----------
    sock : socket
        The call channel, in blocking mode.
    current_call : callable
        Returns the number of the call whose code runs in this thread; 0 if none.

    Attributes
    ----------
    forked : bool
        Whether user code has forked this process: it tells nothing any more.
    """

    def __init__(self, sock: socket, current_call: Callable[[], int]) -> None:
        self.forked = False
        self._sock = sock
        self._current_call = current_call
        self._lock = threading.RLock()
        self._in_frame = False
        self._unsent: list[list[Bytes]] = []

    def send_frame(self, pieces: list[Bytes]) -> None:
        """Send a frame."""
        with self._lock:
            if self._in_frame:
                # A signal handler or a finalizer in user code prints while a frame is being sent.
                self._unsent.append(pieces)
                return
            self._in_frame = True
            try:
                send_all(self._sock, pieces)
                while self._unsent:
                    send_all(self._sock, self._unsent.pop(0))
            finally:
                self._in_frame = False

    def send_message(self, message: protocol.FromWorker) -> None:
        """Send a message."""
        body = pack(message)
        self.send_frame(frame(protocol.MESSAGE, 0, 0, 0, body))

    def send_progress(self, message: protocol.Progress) -> None:
        """Send how far a call has come, unless this is a forked process."""
        if not self.forked:
            self.send_message(message)

    def emit(self, name: str, error: BaseException | None, details: dict[str, Any]) -> None:
        """Send an event; it does not raise, since no caller catches."""
        if self.forked:
            return
        try:
            failure = None if error is None else describe(error, include_exception=False)
            self.send_message(protocol.Event(name, "error", self._current_call(), failure, details))
        except BaseException:
            pass

    def report_resource(self, name: str, during: str, error: BaseException | None) -> None:
        """Send the event that a resource could not be closed, or does not work any more."""
        self.emit("resource_failed", error, {"resource": name, "during": during})
