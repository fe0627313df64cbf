"""The end of a pool whose state cannot be trusted any more: every call and every worker is ended."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from ..core.core import Core
from ..errors import PoolStoppedError
from ..futures import CallFuture
from .link import Link

__all__ = ["collapse"]


class Collapsing(Protocol):
    """The parts of a driver that have to be ended; see `Parts`."""

    core: Core
    links: dict[int, Link]
    unsettled: set[CallFuture]

    def drop(self, link: Link) -> None:
        """Let go of a process."""


def collapse(parts: Collapsing, why: str) -> None:
    """End every call, and kill every worker. Under the lock, in the driver's thread.

    What the core says of calls and effects is not asked: it may have been stopped in the middle of anything.
    So a call whose effect was taken out and not performed, or whose answer was read and not delivered, ends
    as well. Nothing that fails here keeps the rest from being done.

    Parameters
    ----------
    parts : Parts
        What has to be ended.
    why : str
        For the error of each call.
    """
    for future in list(parts.unsettled):
        _attempt(_end, future, why)
    parts.unsettled.clear()
    state = parts.core.state
    state.phase = "stopped"
    state.effects, state.sends = [], []  # of calls that have ended, and of workers that are gone
    links = list(parts.links.values())
    parts.links.clear()
    for link in links:
        _attempt(link.process.end)
        _attempt(parts.drop, link)


def _end(future: CallFuture, why: str) -> None:
    call = future.call
    call.ended = True
    call.future = None
    block, call.block = call.block, None
    future.end_anyhow(PoolStoppedError(f"{call} has not ended: {why}"))
    if block is not None:
        block.release()


def _attempt(step: Callable[..., object], *args: object) -> None:
    try:
        step(*args)
    except BaseException as error:
        logging.getLogger("wpc_magic").error("a failed pool could not end everything", exc_info=error)
