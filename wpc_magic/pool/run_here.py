"""Runs a coroutine to its end in this thread, also where an event loop is running already."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

__all__ = ["run_coroutine"]


def run_coroutine(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine on an event loop of its own, and return its value.

    A notebook's cell runs while the kernel's loop does, so `asyncio.run` refuses to. Not in another thread: a
    debugger, and Ctrl-C, work in the main thread.

    Parameters
    ----------
    coroutine : coroutine
        What an ``async def`` has returned.

    Raises
    ------
    BaseException
        What the coroutine raises, without the loop's frames in its traceback.

    Examples
    --------
    >>> async def double(x):
    ...     await asyncio.sleep(0)
    ...     return 2 * x
    >>> async def running():
    ...     return run_coroutine(double(2))
    >>> run_coroutine(double(1)), asyncio.run(running())
    (2, 4)
    """
    __tracebackhide__ = True
    failure: BaseException | None = None

    async def caught() -> Any:
        nonlocal failure
        try:
            return await coroutine
        except BaseException as error:
            failure = error  # not raised through the loop, whose frames would be between
            return None

    outer = asyncio._get_running_loop()
    swap_task: Any = getattr(asyncio.tasks, "_swap_current_task", None)  # Python 3.14 knows one task a thread
    outer_task = swap_task(outer, None) if swap_task is not None and outer is not None else None
    asyncio._set_running_loop(None)
    loop = asyncio.new_event_loop()
    try:
        value = loop.run_until_complete(caught())
    finally:
        try:
            _cancel_tasks(loop)
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            loop.close()
            asyncio._set_running_loop(outer)
            if outer_task is not None:
                swap_task(outer, outer_task)
    if failure is not None:
        raise failure
    return value


def _cancel_tasks(loop: asyncio.AbstractEventLoop) -> None:
    """End what still runs on a loop: after an interrupt the coroutine itself, else tasks that it has left."""
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
