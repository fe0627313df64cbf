"""The future of a stream, and the wait for its next item."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .future_driver import FutureDriver
from .futures import CallFuture
from .loop_waiters import end_waiter

if TYPE_CHECKING:
    from .core.calls import Call

__all__ = ["ItemWait", "StreamFuture"]


class StreamFuture(CallFuture):
    """The outcome of a stream: what its generator returns, or its error. Its items arrive before.

    Attributes
    ----------
    frames : deque
        What has arrived and was not opened: how many items, their body, their buffers, and their size.
    waits : list of ItemWait
        Who waits for the next item.
    dropped : object
        Keeps a weak reference to the `ResultStream` that tells the driver when it is gone.
    """

    dropped: Any = None

    def __init__(self, call: Call, driver: FutureDriver) -> None:
        super().__init__(call, driver)
        self.frames: deque[tuple[int, Any, Any, int]] = deque()
        self.waits: list[ItemWait] = []

    @property
    def is_awaited(self) -> bool:
        """Always: its channel is polled from the start, since the items come when they come."""
        return True

    def add_items(self, frame: tuple[int, Any, Any, int]) -> None:
        """Take a frame of items; called by the driver, under its lock."""
        self.frames.append(frame)
        for wait in list(self.waits):
            wait.end()

    def settle(self, answer: Any) -> None:
        """End the future, as `CallFuture.settle` does."""
        super().settle(answer)
        for wait in list(self.waits):
            wait.end()

    def end_anyhow(self, error: BaseException) -> None:
        """End the future, as `CallFuture.end_anyhow` does."""
        super().end_anyhow(error)
        for wait in list(self.waits):
            wait.end()


class ItemWait:
    """One wait for the next item of a stream; for those who wait, it is as good as a future.

    Parameters
    ----------
    future : StreamFuture
        The stream's.
    driver : FutureDriver
        The pool's.
    part_of : object
        What is shown of the stream while somebody waits.

    Attributes
    ----------
    call : Call
        The stream's.
    is_shown, reserved_at, loops, wakers : object
        As of a `CallFuture`.
    """

    progress: Any = None
    reserved_at: Any = None
    is_shown = False

    def __init__(self, future: StreamFuture, driver: FutureDriver, part_of: Any) -> None:
        self.call = future.call
        self.part_of = part_of
        self.loops: Any = ()
        self.wakers: list[Callable[[], object]] = []
        self._future = future
        self._driver = driver
        future.waits.append(self)

    @property
    def ended(self) -> bool:
        """Whether there is an item, or the stream has ended."""
        return bool(self._future.frames) or self._future.ended

    @property
    def place(self) -> Any:
        """Where the call is."""
        return self._future.place

    def add_waker(self, wake: Callable[[], object]) -> None:
        """Wake a waiting thread when the wait is over. Under the driver's lock."""
        self.wakers.append(wake)

    def remove_waker(self, wake: Callable[[], object]) -> None:
        """Undo `add_waker`. Under the driver's lock."""
        if wake in self.wakers:
            self.wakers.remove(wake)

    def end(self) -> None:
        """Notify who waits. Under the driver's lock."""
        wakers, self.wakers = self.wakers, []
        for wake in wakers:
            wake()
        loops, self.loops = self.loops, ()
        for loop, waiter in loops:
            end_waiter(loop, waiter, self, self._driver)

    def leave(self) -> None:
        """Wait no more."""
        if self in self._future.waits:
            self._future.waits.remove(self)
