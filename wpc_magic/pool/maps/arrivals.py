"""Which chunk of an unordered map has ended."""

from __future__ import annotations

import queue
from typing import Any

from ..future_driver import WaitObserver

__all__ = ["Arrivals"]


class Arrivals:
    """The chunks of an unordered map, in the order in which they have ended."""

    def __init__(self) -> None:
        self._ended: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._new: list[Any] = []  # chunks that no event loop waits for
        self._waiters: dict[Any, Any] = {}  # by chunk: the asyncio future that ends with it
        self._loop: Any = None  # of these
        self._wake: Any = None  # the asyncio future of that loop that ends with the next chunk

    def add(self, chunk: Any) -> None:
        """Expect a chunk that has been sent."""
        self._new.append(chunk)
        chunk.when_ended(self._ended.put)

    def next(self, observer: WaitObserver | None, shown: Any) -> Any:
        """Wait for the next chunk that has ended; an observer is told of a long wait for `shown`."""
        self._new.clear()
        self._loop = None  # of these chunks it knows nothing
        if observer is None:
            return self._ended.get()
        while True:
            try:
                return self._ended.get(timeout=observer.pause_s(shown))
            except queue.Empty:
                observer.look(shown)

    async def next_async(self, sent: Any) -> Any:
        """Wait for the next chunk that has ended, of those in `sent`, in an event loop."""
        import asyncio

        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self.close()
            self._loop, self._new = loop, list(sent)
        while True:
            try:
                chunk = self._ended.get_nowait()
            except queue.Empty:
                await self._any_ended(loop)
                continue
            waiter = self._waiters.pop(chunk, None) or chunk.wait_in(loop)
            if waiter is not None:
                await waiter  # what the chunk has printed is shown first
            return chunk

    async def _any_ended(self, loop: Any) -> None:
        """Wait until a chunk has ended. There is one waiter for each, however often this is called."""
        import asyncio

        self._wake = loop.create_future()
        while self._new:
            chunk = self._new.pop()
            waiter = chunk.wait_in(loop)
            if waiter is None:  # it has ended just now
                await asyncio.sleep(0)
                return
            self._waiters[chunk] = waiter
            waiter.add_done_callback(self._woken)
        await self._wake

    def _woken(self, waiter: object) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def close(self) -> None:
        """Let event loops wait for nothing any more."""
        waiters, self._waiters, self._loop = self._waiters, {}, None
        for waiter in waiters.values():
            try:
                waiter.cancel()
            except RuntimeError:  # its loop is closed
                pass
