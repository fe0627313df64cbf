"""The items of one stream on their way to the pool: held back while the caller is behind.

The first item is sent at once, and so is each that comes a while after the last; those that follow quickly
travel together, and never wait for longer than `LATE_S`. How far the stream may be ahead of its caller is its
*buffer*: beyond it the stream is paused, until the control thread reads that items were taken.
"""

from __future__ import annotations

import threading
import time
from _thread import allocate_lock
from collections import deque

from wpc_magic.pool.wire.codec import encode
from wpc_magic.pool.wire.items import join_items
from wpc_magic.pool.wire.limits import MAX_AHEAD, MAX_AHEAD_BYTES
from wpc_magic.pool.worker.outcomes import unsendable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["LATE_S", "LateSender", "Outflow"]

LATE_S = 0.001
"""How long an item may wait for the next one, in seconds."""

_APART_NS = 200_000  # items that are further apart are sent alone
_MAX_TOGETHER = 512  # items
_MAX_SIZE = 1 << 16  # bytes of them
_TAKEN_MASK = 0x7FFFFFFF  # of the number of taken items in a frame


class Outflow:
    """The items of one stream.

    Parameters
    ----------
    buffer : int
        How many items it may be ahead of its caller; 0: as many as `wire.limits` says.
    send : callable
        Sends one frame, given the number of its items, its state, its body and its buffers.
    late : LateSender
        Sends what would wait too long.

    Attributes
    ----------
    stopped : bool
        Whether the stream is to end: its call was cancelled, or the worker stops.
    waited_ns : int
        For how long it was paused, in nanoseconds.
    wake : callable
        Called in the control thread when there may be room again, or the stream is stopped.
    """

    def __init__(self, buffer: int, send: Callable[[int, int, bytes, Any], object], late: LateSender) -> None:
        self.stopped = False
        self.waited_ns = 0
        self.lock = threading.Lock()  # no frame of ours is interrupted, so none leaves it locked
        self._buffer = buffer or MAX_AHEAD
        self._send = send
        self._late = late
        self._pending: list[bytes] = []
        self._size = 0
        self._sent_ns = 0
        self._is_late = False  # whether `late` looks after what is pending
        self._yielded = self._taken = self._forgotten = 0
        self._sizes: deque[int] | None = None if buffer else deque()  # of the items that were not taken
        self._ahead = 0  # bytes of these
        self._room = allocate_lock()
        self._room.acquire()
        self.wake: Callable[[], object] = self._wake_thread

    def put(self, item: Any) -> None:
        """Send an item, now or together with the next ones."""
        try:
            body, buffers = encode(item)
        except BaseException as error:
            error.add_note(unsendable(item, error, "the item that it yielded"))
            raise
        size = len(body)
        if buffers:
            size += sum(map(len, buffers))
            with self.lock:
                self._send_pending()
                self._send(1, 0, body, buffers)
        else:
            with self.lock:
                self._pending.append(body)
                self._size += size
                now = time.monotonic_ns()
                if (
                    now - self._sent_ns >= _APART_NS
                    or len(self._pending) >= _MAX_TOGETHER
                    or self._size >= _MAX_SIZE
                ):
                    self._sent_ns = now
                    self._send_pending()
                elif not self._is_late:
                    self._is_late = self._late.look_after(self)
                    if not self._is_late:
                        self._send_pending()
        self._yielded += 1
        if self._sizes is not None:
            self._sizes.append(size)
            self._ahead += size

    def _send_pending(self, state: int = 0) -> None:
        """Send what is pending. Under the lock."""
        pending, self._pending, self._size = self._pending, [], 0
        if pending or state:
            self._send(len(pending), state, join_items(pending) if pending else b"", ())

    def flush(self) -> None:
        """Send what is pending."""
        with self.lock:
            self._send_pending()

    def send_late(self) -> None:
        """Send what has waited for long enough. In the thread of the `LateSender`."""
        with self.lock:
            self._is_late = False
            if self._pending and not self.stopped:
                self._sent_ns = time.monotonic_ns()
                self._send_pending()

    # -- pauses -----------------------------------------------------------------------------------------

    def has_room(self) -> bool:
        """Whether the stream may yield another item now."""
        taken, sizes = self._taken, self._sizes
        if sizes is not None:
            while self._forgotten < taken and sizes:
                self._ahead -= sizes.popleft()
                self._forgotten += 1
            if self._ahead >= MAX_AHEAD_BYTES:
                return False
        return self._yielded - taken < self._buffer

    def pause(self) -> None:
        """Send what is pending, and that the stream waits for its caller."""
        with self.lock:
            self._send_pending(1 + (self._taken & _TAKEN_MASK))

    def wait(self) -> None:
        """Wait until there is room, or the stream is stopped. In the main thread."""
        began = time.monotonic_ns()
        while not (self.has_room() or self.stopped):
            self.pause()
            self._room.acquire()
        self.waited_ns += time.monotonic_ns() - began

    def _wake_thread(self) -> None:
        try:
            self._room.release()
        except RuntimeError:  # it is awake
            pass

    def take(self, taken: int) -> None:
        """Note how many items were taken. In the control thread."""
        self._taken = max(taken, self._taken)
        self.wake()

    def stop(self) -> None:
        """Have the stream end, as soon as it yields. Any thread may call this."""
        self.stopped = True
        self.wake()

    def after_fork(self) -> None:
        """Replace the lock, in a process that user code has forked: nothing is sent from there."""
        self.lock = threading.Lock()
        self._pending, self.stopped = [], True


class LateSender:
    """A thread that sends the items which the next ones let wait, made for the first of them."""

    def __init__(self) -> None:
        self._due: deque[Outflow] = deque()
        self._wakeup: Any = None

    def look_after(self, outflow: Outflow) -> bool:
        """Have `send_late` called soon; return whether that is possible. Under the lock of the outflow."""
        self._due.append(outflow)
        if self._wakeup is None:
            wakeup = allocate_lock()
            thread = threading.Thread(target=self._run, args=(wakeup,), name="wpc-stream", daemon=True)
            try:
                thread.start()
            except (RuntimeError, MemoryError):  # no more threads
                self._due.clear()
                return False
            self._wakeup = wakeup
            return True
        try:
            self._wakeup.release()
        except RuntimeError:  # it is awake, and will look
            pass
        return True

    def _run(self, wakeup: Any) -> None:
        wakeup.acquire()
        while True:
            time.sleep(LATE_S)
            while self._due:
                self._due.popleft().send_late()
            if not self._due:
                wakeup.acquire()

    def after_fork(self) -> None:
        """Forget the thread, in a fork."""
        self.__init__()  # type: ignore[misc]
