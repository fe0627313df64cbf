"""A stream: the items that a function yields, taken one after another while it goes on."""

from __future__ import annotations

import sys
import time
import weakref
from collections import deque
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import suppress
from typing import Any, Self

from .checks import check_seconds
from .future_driver import FutureDriver
from .stream_futures import StreamFuture
from .stream_items import StreamItems
from .value_type import Value

__all__ = ["ResultStream"]

_NONE_READY: Any = object()
_BARS = ("tqdm", "rich")  # libraries that show how far an iteration is


class ResultStream(Iterator[Value], AsyncIterator[Value]):
    r"""The items that a function yields in a worker: an iterator, and an async iterator.

    The function begins at once, and may be ahead of its caller by as many items as ``options(buffer=...)``
    says; then it is paused. The error that ends it is raised after the items before it. A stream that is
    deleted, closed or interrupted ends the function: by `GeneratorExit` at the ``yield`` where it is paused,
    or else by `CallInterrupted` where it is. If cleaning up takes it longer than `interrupt_grace_ms`, its
    worker is replaced.

    ``result`` and ``await`` give all items as a list. The value that the function returns is that of the
    `StopIteration`, and so of ``yield from``.

    Parameters
    ----------
    future : StreamFuture
        Of the call.
    driver : FutureDriver
        The pool's.

    Examples
    --------
    >>> from wpc_magic.pool import WorkerProcedureCall
    >>> with WorkerProcedureCall() as pool:
    ...     _ = pool.define_worker_function(
    ...         name="squares", worker_func="def squares(n):\n    for x in range(n):\n        yield x * x"
    ...     )
    ...     _ = pool.start_workers(1)
    ...     for square in pool.call.squares(3):
    ...         print(square)
    ...     pool.call.squares(5).result()
    0
    1
    4
    [0, 1, 4, 9, 16]
    """

    def __init__(self, future: StreamFuture, driver: FutureDriver) -> None:
        # A finalizer may be interrupted before its first line; what is written in C may not. The future keeps
        # this reference as long as the call goes on.
        dropped = future.dropped = _Dropped(self, driver.drop)
        dropped.call = future.call
        self._items = items = StreamItems(future, driver)
        self._ready: deque[Value] = items.ready

    @property
    def items(self) -> StreamItems:
        """What it is to those who show it, and who do not keep it alive by that."""
        return self._items

    @property
    def call(self) -> Any:
        """The call."""
        return self._items.future.call

    @property
    def call_id(self) -> int:
        """The number of the call."""
        return self._items.future.call_id

    @property
    def name(self) -> str:
        """The function's name."""
        return self._items.future.name

    @property
    def progress(self) -> Any:
        """How far the function says that it is: ``context.progress(done, total, text)``."""
        return self._items.future.progress

    @property
    def ended(self) -> bool:
        """Whether its function has ended; items of it may still be here."""
        return self._items.future.ended

    @property
    def state(self) -> str:
        """How it stands, in words: ``"12 items taken, 3 more here, running on worker 2 for 3 s"``."""
        return str(self._items)

    def __repr__(self) -> str:
        return f"<ResultStream {self.call}: {self._items}>"

    def __iter__(self) -> Self:
        by = str(sys._getframe(1).f_globals.get("__name__"))
        if by.partition(".")[0] in _BARS:
            self._items.is_shown = True
        return self

    def __next__(self) -> Value:
        __tracebackhide__ = True
        try:
            item = self._ready.popleft()
        except IndexError:
            item = _NONE_READY
        if item is _NONE_READY:  # not in the handler: an error of the function has no other context
            item = self._items.next(None)
        if len(self._ready) <= self._items.low:
            self._items.report()
        return item

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Value:
        __tracebackhide__ = True
        try:
            item = self._ready.popleft()
        except IndexError:
            item = _NONE_READY
        if item is _NONE_READY:
            item = await self._items.next_async()
        if len(self._ready) <= self._items.low:
            self._items.report()
        return item

    def result(self, timeout: float | None = None) -> list[Value]:
        """Return all items, from the next one on, as a list.

        Parameters
        ----------
        timeout : float, optional
            How long to wait, in seconds. The stream goes on when it expires, and no item is lost.

        Raises
        ------
        TimeoutError
            If the timeout expires first.
        BaseException
            As `CallFuture.result`.
        """
        __tracebackhide__ = True
        if timeout is None:
            return list(self)
        deadline = time.monotonic() + check_seconds("timeout", timeout)
        taken: list[Any] = []
        try:
            while True:
                taken.append(self._items.next(deadline))
                if len(self._ready) <= self._items.low:
                    self._items.report()
        except StopIteration:
            return taken
        except TimeoutError:
            if not self._items.has_ended:
                self._ready.extendleft(reversed(taken))
            raise

    def __await__(self) -> Generator[Any, None, list[Value]]:
        return self._collected().__await__()

    async def _collected(self) -> list[Value]:
        __tracebackhide__ = True
        return [item async for item in self]

    def cancel(self) -> bool:
        """Do as `close`; return whether the function had not ended."""
        return self._items.close()

    def close(self) -> None:
        """End the function, and forget the items that were not taken."""
        self._items.close()

    async def aclose(self) -> None:
        """Do as `close`; `contextlib.aclosing` calls it."""
        self._items.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._items.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._items.close()

    def __del__(self) -> None:
        items = getattr(self, "_items", None)
        if items is not None and not items.future.ended:
            with suppress(Exception):  # at the exit of the interpreter
                items.give_up()

    def __reduce__(self) -> Any:
        raise TypeError("a stream belongs to this process; send its result() instead")


class _Dropped(weakref.ref[ResultStream]):
    """What the driver finds of a stream that is gone: its call, to be cancelled."""

    __slots__ = ("call",)
    call: Any
