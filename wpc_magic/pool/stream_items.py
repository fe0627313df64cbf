"""The items of a stream: those that are here, and the wait for the next one."""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from concurrent.futures import CancelledError
from contextlib import suppress
from typing import Any

from .future_driver import FutureDriver
from .futures import CallFuture
from .stream_futures import ItemWait, StreamFuture
from .wire.items import decode_items
from .wire.limits import MAX_AHEAD, MAX_AHEAD_BYTES

__all__ = ["StreamItems", "counted_items"]


class _NoFailures:
    count = 0


class StreamItems:
    """The items of one stream, and what is shown of it. It does not refer to the `ResultStream`.

    Attributes
    ----------
    future : StreamFuture
        Of the call.
    ready : deque
        Items that are here.
    low : int
        At how many of these the worker is told what was taken.
    has_ended : bool
        Whether the end was raised, or the stream closed.
    total, failures, worker_count, began_s, is_shown, stopped_by : object
        As of the chunks of a map, for who shows it.
    """

    total = None
    failures = _NoFailures
    worker_count = 1

    def __init__(self, future: StreamFuture, driver: FutureDriver) -> None:
        self.future = future
        self.ready: deque[Any] = deque()
        buffer = future.call.options.buffer
        # When so many were taken, the worker is told: it goes on before it runs dry.
        self._step = max(1, (MAX_AHEAD if buffer is None else buffer) // 2)
        self._max_size = MAX_AHEAD_BYTES // 2 if buffer is None else sys.maxsize
        self.low = -self._step
        self.has_ended = False
        self.began_s = 0.0
        self.is_shown = False
        self.stopped_by: BaseException | None = None
        self._call: Any = future.call
        self._driver = driver
        self._opened = 0  # items
        self._size = 0  # bytes of them, since the worker was told
        self._failure: BaseException | None = None  # of an item that cannot be unpickled
        self._opening = threading.RLock()

    @property
    def name(self) -> str:
        """The function's name."""
        return self.future.name

    @property
    def done(self) -> int:
        """How many items were taken."""
        return self._opened - len(self.ready)

    @property
    def ran_s(self) -> float:
        """For how long the function ran, in seconds, if it has ended."""
        return self.future.ran_s

    @property
    def arrived(self) -> int:
        """How many items have arrived."""
        return self._opened + sum(frame[0] for frame in list(self.future.frames))

    def in_flight(self) -> list[CallFuture]:
        """Return the future, unless the function has ended."""
        return [] if self.future.ended else [self.future]

    def __str__(self) -> str:
        here = max(0, self.arrived - self.done)  # another thread may take some meanwhile
        more = f", {here:,} more here" if here else ""
        return f"{counted_items(self.done)} taken{more}, {self._place()}"

    def _place(self) -> str:
        place = self.future.place
        if place is None:
            return "closed" if self.future.cancelled() else "ended"
        return f"paused on worker {place.worker_id}" if self._call.paused_at else str(place)

    # -- taking -----------------------------------------------------------------------------------------

    def next(self, deadline: float | None) -> Any:
        """Return the next item; wait for it if necessary."""
        __tracebackhide__ = True
        self.began_s = self.began_s or time.monotonic()
        try:
            while True:
                has_ended = self.future.ended  # first: items arrive before the end
                if not (self.ready or self.future.frames or self._failure) and not has_ended:
                    self._wait(deadline)
                    continue
                self._driver.finish_output()  # it is shown before the item is returned
                if self._open():
                    with suppress(IndexError):  # another thread has taken them
                        return self.ready.popleft()
                elif has_ended:
                    break
        except BaseException as error:
            if not (isinstance(error, TimeoutError) and deadline is not None and self._failure is None):
                self._stop(error)
            raise
        value = self._end()
        raise StopIteration(value)

    def _wait(self, deadline: float | None) -> None:
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        self._driver.check()
        wait = ItemWait(self.future, self._driver, self)
        try:
            self._driver.wait(wait, left)
        except KeyboardInterrupt as interrupt:
            CallFuture.on_interrupt(interrupt)
            raise interrupt.with_traceback(None) from None
        finally:
            wait.leave()
        if left is not None and not wait.ended and time.monotonic() >= (deadline or 0.0):
            raise TimeoutError(f"{self.future.call} has not ended in time; it goes on")

    async def next_async(self) -> Any:
        """Wait for the next item, and return it."""
        import asyncio

        __tracebackhide__ = True
        self.began_s = self.began_s or time.monotonic()
        loop = asyncio.get_running_loop()
        try:
            while True:
                has_ended = self.future.ended
                wait = ItemWait(self.future, self._driver, self)
                try:
                    if wait.ended or self.ready or self._failure:
                        waiter = loop.create_future()
                        if not self._driver.is_shown(wait, loop, waiter):
                            await waiter
                    else:
                        self._driver.check()
                        await self._driver.wait_in_loop(wait, loop)
                        continue
                finally:
                    wait.leave()
                if self._open():
                    with suppress(IndexError):
                        return self.ready.popleft()
                elif has_ended:
                    break
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError):
                CallFuture.on_interrupt(error)
            self._stop(error)
            raise
        self._end()
        raise StopAsyncIteration

    def _open(self) -> bool:
        """Unpickle the next frame, unless items are ready; return whether there are any."""
        __tracebackhide__ = True
        with self._opening:
            if self.ready:
                return True
            if self._failure is not None:
                failure, self._failure = self._failure, None
                try:
                    raise failure
                finally:
                    del failure
            try:
                count, body, buffers, size = self.future.frames.popleft()
            except IndexError:
                return False
            first = self._opened
            items: list[Any] = []
            try:
                items.extend(decode_items(body, count, buffers))
            except Exception as error:
                error.add_note(f"while item {first + len(items)} of {self.future.call} was unpickled here")
                self._failure = error
            self._opened += len(items)
            self.low += len(items)
            self._size += size
            if self._size >= self._max_size:
                self.low = max(self.low, 0)  # with the last of these
            self.ready.extend(items)
        observer = self._driver.observer
        if observer is not None:
            observer.map_went_on(self)
        return bool(items) or self._open()

    def report(self) -> None:
        """Tell the worker how many items were taken."""
        self._size = 0
        self.low = len(self.ready) - self._step
        if not self.future.ended:
            self._driver.credit(self.future, self.done)

    # -- the end ----------------------------------------------------------------------------------------

    def _end(self) -> Any:
        """Return what the function has returned, or raise its error."""
        __tracebackhide__ = True
        if self.has_ended:
            return None
        self.has_ended = True
        try:
            return self.future.result()
        except BaseException as error:
            self.stopped_by = error
            if self.done or not isinstance(error, CancelledError):
                error.add_note(f"after {counted_items(self.done)} of the stream")
            raise
        finally:
            self.future.dropped = None
            self._tell_end()

    def _tell_end(self) -> None:
        observer = self._driver.observer
        if observer is not None:
            observer.map_ended(self)

    def _stop(self, error: BaseException) -> None:
        """End the stream, because an error ends its iteration."""
        self.stopped_by = error
        self.close()

    def close(self) -> bool:
        """End the function; return whether it had not ended."""
        was_open, self.has_ended = not self.has_ended, True
        self._opened -= len(self.ready)  # nobody takes them any more
        self.ready.clear()
        self._failure = None
        cancelled = not self.future.ended and self.future.cancel()
        self.future.dropped = None
        self.future.frames.clear()
        if self.future.unasked is not None:
            self.future.unasked.asked()
        if was_open:
            self._tell_end()
        return cancelled

    def give_up(self) -> None:
        """End the function without waiting for anything: a finalizer calls this."""
        self.has_ended = True
        self._driver.give_up([self.future])
        if self.began_s and self.future.unasked is not None:  # its caller did not want the rest
            self.future.unasked.asked()


def counted_items(count: int) -> str:
    """Return a number of items, in words."""
    return f"{count:,} item{'s' * (count != 1)}"
