"""A signal wakes an idle event loop."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Iterator

import pytest

from wpc_magic.notebook.wakeup_fd import SignalWakeup

HOUR_S = 3600.0


@pytest.fixture
def handler() -> Iterator[list[asyncio.Future[None]]]:
    """A handler like that of a kernel: it schedules a callback in the loop, and does not wake it."""
    waiting: list[asyncio.Future[None]] = []

    def cancel(signum: int, frame: object) -> None:
        waiting[0].get_loop().call_soon(waiting[0].cancel)

    before = signal.signal(signal.SIGINT, cancel)
    yield waiting
    signal.signal(signal.SIGINT, before)


def test_what_a_handler_asks_for_is_done_at_once_although_the_loop_is_quiet(
    handler: list[asyncio.Future[None]],
) -> None:
    async def wait() -> None:
        wake = SignalWakeup()
        wake.install()
        try:
            handler.append(asyncio.get_running_loop().create_future())
            # From another thread, while the loop sleeps or is about to.
            threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGINT)).start()
            with pytest.raises(asyncio.CancelledError):
                await asyncio.wait_for(handler[0], HOUR_S)
        finally:
            wake.uninstall()

    loop = asyncio.new_event_loop()  # not `asyncio.run`, whose own handler wakes its loop
    try:
        loop.run_until_complete(wait())
    finally:
        loop.close()


def test_a_descriptor_of_somebody_else_stays() -> None:
    async def check() -> None:
        theirs, ours = os.pipe()
        os.set_blocking(ours, False)
        signal.set_wakeup_fd(ours)
        try:
            wake = SignalWakeup()
            wake.install()
            wake.uninstall()
        finally:
            assert signal.set_wakeup_fd(-1) == ours
            os.close(theirs)
            os.close(ours)

    asyncio.run(check())


def test_without_a_loop_nothing_happens() -> None:
    wake = SignalWakeup()
    wake.install()
    assert signal.set_wakeup_fd(-1) == -1
    wake.uninstall()


def test_taken_out_nothing_is_left() -> None:
    async def check() -> None:
        wake = SignalWakeup()
        wake.install()
        wake.install()
        wake.uninstall()
        wake.uninstall()
        assert signal.set_wakeup_fd(-1) == -1

    asyncio.run(check())
