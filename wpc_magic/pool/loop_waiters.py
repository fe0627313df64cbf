"""How event loops that wait for the future of a call are told of its end."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from .future_driver import FutureDriver

__all__ = ["end_shown", "end_waiter"]


def end_waiter(loop: Any, waiter: Any, future: Any, driver: FutureDriver) -> None:
    """End the asyncio future of a loop that waits for a call which has ended, once its output is shown."""
    from asyncio import _get_running_loop

    if _get_running_loop() is loop:
        _set_if_shown(loop, waiter, future, driver)
        return
    with suppress(RuntimeError):  # that loop is closed: nothing waits in it any more
        loop.call_soon_threadsafe(_set_if_shown, loop, waiter, future, driver)


def _set_if_shown(loop: Any, waiter: Any, future: Any, driver: FutureDriver) -> None:
    if not waiter.done() and driver.is_shown(future, loop, waiter):
        waiter.set_result(None)


def end_shown(loop: Any, waiter: Any) -> None:
    """End the asyncio future of a loop, in any thread."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(_set, waiter)


def _set(waiter: Any) -> None:
    if not waiter.done():
        waiter.set_result(None)
