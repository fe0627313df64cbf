"""A function mapped over many items: the results, one after another."""

from __future__ import annotations

import itertools
import sys
from collections import deque
from collections.abc import AsyncIterator, Generator, Iterator
from typing import Any, NoReturn, Self

from ..caching.maps import CachedChunks
from ..futures import CallFuture
from ..value_type import Value
from .chunks import Chunks
from .request import ChunkRunner, MapRequest

__all__ = ["MapResults"]


class MapResults(Iterator[Value], AsyncIterator[Value]):
    """The results of a map: an iterator, and an async iterator; `result` and ``await`` give all as a list.

    Items are taken from the iterables only as far as workers are about to need them, so these may be
    infinite. An error of the iterables themselves is raised after the results of the items before it. A map
    that is deleted or closed before its end cancels its calls.

    The exception that ends a map, also an interrupt, has an attribute ``partial``: what has been computed, by
    the numbers of the items. Values that the caller has received and no longer refers to are not kept.

    ``len`` is the number of all items, where the iterables have a length.

    Parameters
    ----------
    pool : ChunkRunner
        Makes the calls.
    request : MapRequest
        What is to be done.
    """

    def __init__(self, pool: ChunkRunner, request: MapRequest) -> None:
        cache = pool.cache_of_map(request.name, request.options)
        self._chunks = Chunks(pool, request) if cache is None else CachedChunks(pool, request, cache)
        self._ready: deque[Value] = deque()  # of an async iteration
        # Flattened without running Python code per item. It references the chunks, but not this object, so
        # that it is finalized, which cancels what is in flight, as soon as nothing iterates any more.
        batches = _batches(self._chunks)
        next(batches)
        self._results: Iterator[Value] = itertools.chain.from_iterable(batches)
        try:
            self._chunks.fill()
        except BaseException:
            self._chunks.close()
            raise

    def __repr__(self) -> str:
        return f"<MapResults {self._chunks}>"

    @property
    def errors(self) -> dict[int, BaseException]:
        """The exceptions of the items that have failed until now, by the numbers of the items.

        Of the first 1,000; `error_count` counts all.
        """
        return dict(self._chunks.failures.errors)

    @property
    def error_count(self) -> int:
        """How many items have failed until now."""
        return self._chunks.failures.count

    @property
    def error_summary(self) -> str:
        """What has failed, equal errors together: ``ValueError: no date ×3 (items 37, 91, 405)``."""
        return str(self._chunks.failures)

    def __len__(self) -> int:
        if self._chunks.total is None:
            raise TypeError("the number of items is not known: an iterable of this map has no len()")
        return self._chunks.total

    def __bool__(self) -> bool:
        return True  # as any iterator, also where it has a length

    def __iter__(self) -> Iterator[Value]:
        by = str(sys._getframe(1).f_globals.get("__name__"))
        if by.partition(".")[0] in _BARS:
            self._chunks.is_shown = True
        return self._results

    def __next__(self) -> Value:
        __tracebackhide__ = True
        return next(self._results)

    def result(self) -> list[Value]:
        """Return all results, from the next one on, as a list."""
        __tracebackhide__ = True
        return list(self._results)

    def __await__(self) -> Generator[Any, None, list[Value]]:
        return self._collected().__await__()

    async def _collected(self) -> list[Value]:
        __tracebackhide__ = True
        return [value async for value in self]

    def __getitem__(self, index: object) -> NoReturn:
        __tracebackhide__ = True
        wrong = TypeError(
            "the results of a map come one after another. Type: values = results.result(), then values[0]"
        )
        CallFuture.on_interrupt(wrong)
        raise wrong

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Value:
        import asyncio

        __tracebackhide__ = True
        try:
            while not self._ready:
                chunk = await self._chunks.next_async()
                if chunk is None:
                    self._chunks.end()
                    break
                self._ready.extend(self._chunks.take(chunk))
            else:
                return self._ready.popleft()
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError):
                CallFuture.on_interrupt(error)
            self._chunks.explain(error)
            raise
        raise StopAsyncIteration

    def close(self) -> None:
        """Cancel what is in flight, and take no more items."""
        self._ready.clear()
        self._chunks.close()
        self._chunks.end()
        self._results = itertools.chain.from_iterable([])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


_BARS = ("tqdm", "rich")  # libraries that show how far an iteration is


def _batches(chunks: Chunks) -> Iterator[list[Any]]:
    __tracebackhide__ = True
    try:
        yield []  # starts the generator, so that `finally` runs even if no result is ever taken
        while (chunk := chunks.next()) is not None:
            yield chunks.take(chunk)
    except GeneratorExit:
        raise
    except BaseException as error:
        chunks.explain(error)
        raise
    else:
        chunks.end()
    finally:
        chunks.close_nowait()
