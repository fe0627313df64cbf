"""One function over many items, in chunks whose size follows the measured time."""

from __future__ import annotations

import itertools
import queue
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from .errors import ArgumentsNotSerializableError, CallError, SaturatedError
from .futures import CallFuture
from .options import CallOptions
from .worker.failure import revive

if TYPE_CHECKING:
    from .api import WorkerProcedureCall

__all__ = ["MapResults"]

_CHUNK_S = 0.01  # what a chunk should take: the cost of sending it is then about a percent
_MOST_ITEMS = 20_000
_PER_WORKER = 3  # chunks under way for each worker: one runs, and the next ones are there already


class MapResults(Iterator[Any], AsyncIterator[Any]):
    """The results of a map: an iterator, and an async iterator.

    Items are taken from the iterables only as far as workers are about to need them, so these may be endless.
    The first item that fails ends the map with its exception, which says which item it was; an error of the
    iterables themselves comes after the results of the items before it. A map that is dropped or closed
    before its end stops its calls.

    Parameters
    ----------
    pool : WorkerProcedureCall
        Who calls.
    name : str
        The function.
    iterables : sequence of iterable
        One for each argument; the shortest ends the map.
    chunk_size : int or None
        How many items travel together; None: as many as take about 10 ms.
    ordered : bool
        Whether results come in the order of the items, or as soon as they are there.
    options : CallOptions
        How the calls are made. A time-out is one for each item, unless `chunk_size` says more than 1.
    """

    def __init__(
        self,
        pool: WorkerProcedureCall,
        name: str,
        iterables: tuple[Iterable[Any], ...],
        chunk_size: int | None,
        ordered: bool,
        options: CallOptions,
    ) -> None:
        self._chunks = _Chunks(pool, name, iterables, chunk_size, ordered, options)
        self._ready: deque[Any] = deque()  # of an async iteration
        # Flattened without a step of Python for each item. It holds the chunks, and not this object, so that
        # it is gone, and gives up what is under way, as soon as nobody iterates any more.
        batches = _batches(self._chunks)
        next(batches)
        self._results: Iterator[Any] = itertools.chain.from_iterable(batches)
        try:
            self._chunks.fill()
        except BaseException:
            self._chunks.close()
            raise

    def __iter__(self) -> Iterator[Any]:
        return self._results

    def __next__(self) -> Any:
        __tracebackhide__ = True
        return next(self._results)

    def __aiter__(self) -> MapResults:
        return self

    async def __anext__(self) -> Any:
        __tracebackhide__ = True
        try:
            while not self._ready:
                future = await self._chunks.next_async()
                if future is None:
                    raise StopAsyncIteration
                self._ready.extend(self._chunks.take(future))
            return self._ready.popleft()
        except BaseException:
            self._chunks.close()
            raise

    def close(self) -> None:
        """Give up: what is under way is cancelled, and no more items are taken."""
        self._ready.clear()
        self._chunks.close()
        self._results = itertools.chain.from_iterable([])

    def __enter__(self) -> MapResults:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _batches(chunks: _Chunks) -> Iterator[list[Any]]:
    __tracebackhide__ = True
    try:
        yield []  # it has begun, so its end is noticed, also where nobody takes a result
        while (future := chunks.next()) is not None:
            yield chunks.take(future)
    finally:
        chunks.give_up()


class _Chunks:
    """The chunks of a map: taken from the iterables, sent, and received."""

    def __init__(
        self,
        pool: WorkerProcedureCall,
        name: str,
        iterables: tuple[Iterable[Any], ...],
        chunk_size: int | None,
        ordered: bool,
        options: CallOptions,
    ) -> None:
        self._pool = pool
        self._name = name
        self._single = len(iterables) == 1
        self._items = iter(iterables[0]) if self._single else zip(*iterables, strict=False)
        self._chunk_size = chunk_size
        self._options = options
        self._sent: dict[CallFuture, int] = {}  # the future of a chunk, and its first item's number
        self._next_item = 0
        self._back: list[Any] = []  # items that were taken, and for which there was no room
        self._all_taken = False
        self._broken: Exception | None = None  # what the iterables have raised
        self._failure: BaseException | None = None
        self._arrived: queue.SimpleQueue[CallFuture] | None = None if ordered else queue.SimpleQueue()

    # -- sending ----------------------------------------------------------------------------------------

    def fill(self) -> None:
        """Have enough chunks under way."""
        __tracebackhide__ = True
        wanted = _PER_WORKER * max(1, self._pool.worker_count)
        while not self._all_taken and len(self._sent) < wanted:
            items = self._back or self._take_items()
            if not items:
                self._all_taken = True
                return
            first, count = self._next_item, len(items)
            self._next_item += count
            columns = (items,) if self._single else tuple(map(list, zip(*items, strict=True)))
            try:
                future = self._pool.submit_chunk(self._name, columns, count, self._options)
            except ArgumentsNotSerializableError as error:
                self._all_taken = True
                self._failure = _noted(error, f"in items {_span(first, count)} of the map over {self._name}")
                return
            except SaturatedError:
                if not self._sent:
                    raise
                self._back, self._next_item = items, first  # when one of ours has ended, there is room
                return
            self._back = []
            self._sent[future] = first
            if self._arrived is not None:
                future.when_ended(self._arrived.put)

    def _take_items(self) -> list[Any]:
        """Return the next items; where the iterables raise, that is for after the results of those before."""
        items: list[Any] = []
        if self._broken is None:
            try:
                # With an error, those before are in.
                items.extend(itertools.islice(self._items, self._size()))
            except Exception as error:
                self._broken = error
        if not items:
            self._failure = self._broken
        return items

    def _size(self) -> int:
        if self._chunk_size is not None:
            return self._chunk_size
        if self._pool.has_timeout(self._name, self._options):
            return 1
        mean = self._pool.mean_s(self._name)
        if mean is None:
            return 1  # to learn what one takes
        return max(1, min(_MOST_ITEMS, int(_CHUNK_S / (mean + 1e-9))))

    # -- receiving --------------------------------------------------------------------------------------

    def next(self) -> CallFuture | None:
        """Return the chunk whose results come next, ended or not; None: there is none."""
        __tracebackhide__ = True
        if not self._sent:
            self._raise_failure()
            return None
        return next(iter(self._sent)) if self._arrived is None else self._arrived.get()

    async def next_async(self) -> CallFuture | None:
        """Return the chunk whose results come next, when it has ended; None: there is none."""
        import asyncio

        if not self._sent:
            self._raise_failure()
            return None
        future = next(iter(self._sent))
        if self._arrived is not None:
            waiting = [asyncio.ensure_future(_ended(each)) for each in self._sent]
            try:
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for each in waiting:
                    each.cancel()
            future = next(each for each in self._sent if each.done())
        await _ended(future)
        return future

    def _raise_failure(self) -> None:
        __tracebackhide__ = True
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    def take(self, future: CallFuture) -> list[Any]:
        """Return the results of a chunk, and send the next ones."""
        __tracebackhide__ = True
        first = self._sent.get(future)
        if first is None:
            return []
        try:
            values, failure = future.result()
        except CallError as error:
            size = future.call.items
            raise _noted(error, f"in items {_span(first, size)} of the map over {self._name}") from None
        del self._sent[future]
        if failure is None:
            if self._failure is None:
                self.fill()
        else:
            raised = revive(failure)
            if failure.note:
                raised.add_note(failure.note)
            raised.add_note(f"in item {first + len(values)} of the map over {self._name} ({future.call})")
            if not values:
                raise raised
            self.close()
            self._failure = raised  # when the results before it have been taken
        results: list[Any] = values
        return results

    def close(self) -> None:
        """Cancel what is under way, and take no more items."""
        self._all_taken = True
        self._back, self._failure = [], None
        for future in self._sent:
            future.cancel()
        self._sent.clear()

    def give_up(self) -> None:
        """As `close`, but without waiting for anything: a finalizer may call it."""
        self._all_taken = True
        if self._sent:
            self._pool.give_up(list(self._sent))
            self._sent.clear()


async def _ended(future: CallFuture) -> None:
    """Wait until a future has ended, however that is."""
    import asyncio

    waiter: Any = future.wait_in(asyncio.get_running_loop())
    if waiter is not None:
        await waiter


def _noted(error: Any, note: str) -> Any:
    error.add_note(note)
    return error


def _span(first: int, count: int) -> str:
    return str(first) if count == 1 else f"{first} to {first + count - 1}"
