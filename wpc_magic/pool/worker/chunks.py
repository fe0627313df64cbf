"""A chunk: one call that runs a function for several items of a map. What a function yields becomes a list.

Its outcome is a pair: the values, with None where an item has failed, and the failures by their positions. If
the chunk ends with the first failure, the values end there.
"""

from __future__ import annotations

from itertools import islice, starmap
from types import CoroutineType

from wpc_magic.pool.errors import CallInterrupted
from wpc_magic.pool.wire.codec import encode
from wpc_magic.pool.worker.outcomes import described_end, unsendable

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator
    from functools import partial
    from typing import Any

    from wpc_magic.pool.wire.protocol import Failure

    Outcome = tuple[list[Any], dict[int, Failure]]
else:
    from _functools import partial  # which `functools`, in Python, has from there

_GENERATOR, _ASYNC_GENERATOR = 0x20, 0x200  # flags of code

__all__ = ["await_chunk", "encode_each", "failed_items", "has_coroutines", "run_chunk"]


def run_chunk(
    function: Callable[..., Any],
    columns: tuple[Any, ...],
    between: Callable[[], Callable[[], object] | None],
    keep_going: bool,
) -> Outcome:
    """Call the function for each item.

    Parameters
    ----------
    function : callable
        The function.
    columns : tuple
        Its arguments, see `wire.chunk_arguments`.
    between : callable
        Asked after the first item, which may have imported what needs it: returns what is to be called
        between two items, or None.
    keep_going : bool
        Whether to go on after an item has failed.
    """
    values: list[Any] = []
    failures: dict[int, Failure] = {}
    # Without a frame of ours above those of a generator: one would keep interrupts away.
    collect = _collector(function)
    if type(columns[-1]) is dict:
        function = partial(function, **columns[-1])
        columns = columns[:-1]
    items = [iter(column) for column in columns]
    call: Any = starmap if isinstance(columns[0], tuple) else map
    calls = call(function, *items)
    if collect is not None:
        calls = map(collect, calls)
    count = len(columns[0])
    has_asked = False
    while True:
        try:
            if not values:
                values.extend(islice(calls, 1))
            if values and not has_asked:
                has_asked = True
                act = between()
                if act is not None:
                    calls = call(function, _acting(items[0], act), *items[1:])
                    if collect is not None:
                        calls = map(collect, calls)
            if values:
                values.extend(calls)  # keeps the values before a failure, and the next one goes on behind it
            if len(values) < count:
                # `map` takes a StopIteration raised by the function for the end of the items.
                raise RuntimeError("the function raised StopIteration")
        except BaseException as error:
            failures[len(values)] = described_end(error)
            if keep_going and not isinstance(error, CallInterrupted):
                values.append(None)
                continue
        return values, failures


def _collector(function: Callable[..., Any]) -> Callable[[Any], Any] | None:
    """Return what makes a list of what a function yields; None: it does not."""
    flags = getattr(getattr(function, "__code__", None), "co_flags", 0)
    return list if flags & _GENERATOR else _collected if flags & _ASYNC_GENERATOR else None


async def _collected(items: AsyncIterator[Any]) -> list[Any]:
    return [item async for item in items]


def _acting(items: Iterable[Any], act: Callable[[], object]) -> Iterator[Any]:
    """Yield items; before each, call `act`."""
    for item in items:
        act()
        yield item


def has_coroutines(outcome: Outcome) -> bool:
    """Return whether the function has returned coroutines, which have not run yet."""
    values, failures = outcome
    return any(type(value) is CoroutineType for value in (values if failures else values[:1]))


INTERLEAVED = 128
"""How many coroutines of one chunk run concurrently; of other chunks, more may run beside them."""


async def await_chunk(outcome: Outcome, begin_item: Callable[[int], object] | None = None) -> Outcome:
    """Await the coroutines of a chunk concurrently, but no more than `INTERLEAVED` at a time.

    Parameters
    ----------
    outcome : tuple
        That of the chunk, with coroutines as values.
    begin_item : callable, optional
        Called with the number of each item before its task is made, which copies the context.

    Returns
    -------
    Outcome
        Their values and failures.
    """
    import asyncio

    coroutines, failures = outcome
    values: list[Any] = [None] * len(coroutines)
    waiting = [(n, each) for n, each in enumerate(coroutines) if n not in failures]
    waiting.reverse()  # the next is the last
    tasks: dict[asyncio.Task[Any], int] = {}
    try:
        while True:
            while waiting and len(tasks) < INTERLEAVED:
                n, each = waiting.pop()
                if begin_item is not None:
                    begin_item(n)
                tasks[asyncio.ensure_future(each)] = n
            if not tasks:
                return values, failures
            until = asyncio.FIRST_COMPLETED if waiting else asyncio.ALL_COMPLETED
            ended, _ = await asyncio.wait(tasks, return_when=until)
            for task in ended:
                n = tasks.pop(task)
                try:
                    values[n] = task.result()
                except BaseException as error:
                    failures[n] = described_end(error)
    finally:
        for _, each in waiting:  # it is interrupted: these never begin
            each.close()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.gather(*tasks, return_exceptions=True)  # they may clean up


def encode_each(outcome: Outcome) -> tuple[bytes, list[memoryview]]:
    """Encode an outcome in which a value cannot be pickled: that becomes a failure."""
    values, failures = outcome
    for n, item in enumerate(values):
        try:
            encode(item)
        except BaseException as error:
            error.__context__ = None  # that all of them together cannot be pickled
            values[n], failures[n] = None, described_end(error, unsendable(item, error))
    return encode((values, failures))


def failed_items(outcome: Outcome, keeps_going: bool) -> int:
    """Return what an answer says about failures; see `protocol.VALUE`.

    Examples
    --------
    >>> failed_items(([1, None, None], {1: ..., 2: ...}), True), failed_items(([1, 2], {2: ...}), False)
    (2, 3)
    """
    _, failures = outcome
    if keeps_going or not failures:
        return len(failures)
    return min(failures) + 1
