"""Asynchronous streams: what they yield is sent while other coroutines run. Imported for the first one."""

from __future__ import annotations

import asyncio
import time
from types import CoroutineType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable
    from typing import Any

    from wpc_magic.pool.worker.outflow import Outflow

__all__ = ["run_async"]

_TURN_S = 0.001  # how long a generator that never waits may keep the event loop


async def run_async(
    made: Any, outflow: Outflow, ending: Callable[[], object], close: Callable[[], object]
) -> Any:
    """Send what an asynchronous iterator yields.

    Parameters
    ----------
    made : object
        What the function has returned: an iterable, asynchronous or not, or a coroutine that returns one.
    outflow : Outflow
        Takes the items.
    ending : callable
        Called before the iterator is closed.
    close : callable
        Called at the end, before the call is answered.
    """
    loop = asyncio.get_running_loop()
    room = asyncio.Event()

    def wake() -> None:
        try:
            loop.call_soon_threadsafe(room.set)
        except RuntimeError:  # the loop is closed: all streams have ended
            pass

    outflow.wake = wake
    items: Any = None
    try:
        if type(made) is CoroutineType:
            made = await made
        items = _aiter(made)
        turn = time.monotonic()
        async for item in items:
            outflow.put(item)
            item = None  # it may be large
            while not (outflow.has_room() or outflow.stopped):
                outflow.pause()
                began = time.monotonic_ns()
                await room.wait()
                room.clear()
                outflow.waited_ns += time.monotonic_ns() - began
                turn = time.monotonic()
            if outflow.stopped:
                raise asyncio.CancelledError
            if time.monotonic() - turn > _TURN_S:
                await asyncio.sleep(0)
                turn = time.monotonic()
    finally:
        ending()
        try:
            aclose = getattr(items, "aclose", None)
            if aclose is not None:
                await aclose()
        finally:
            close()


def _aiter(made: Any) -> AsyncIterator[Any]:
    if hasattr(type(made), "__aiter__"):
        items: AsyncIterator[Any] = made.__aiter__()
        return items
    try:
        iter(made)
    except TypeError:
        raise TypeError(
            f"it returned {type(made).__name__}, which is no iterable: there is nothing to stream"
        ) from None
    return _each(made)


async def _each(made: Iterable[Any]) -> AsyncIterator[Any]:
    for item in made:
        yield item
