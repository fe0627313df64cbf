"""Samples of the stacks of calls: taken by the control threads of workers, many times a second."""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from ..options import shown_name
from .stack_report import Frame, user_frames

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..wire.protocol import Stack
    from .driver import Driver
    from .link import Link

__all__ = ["StackSample", "StackSampler"]

_MOST_KEPT = 1000  # samples that wait to be taken; of more, the oldest are dropped


class StackSample(NamedTuple):
    """The stack of one call at one moment.

    Parameters
    ----------
    worker_id : int
        The slot whose process runs it.
    function : str
        The function that was called.
    weight : int
        For how many requests it stands: a worker whose interpreter is held by C code answers late.
    frames : tuple
        Of the user's code and of what it calls: file, line and function of each, the innermost last.
    """

    worker_id: int
    function: str
    weight: int
    frames: tuple[Frame, ...]


class _Request:
    """A worker that has not answered, and how often it would have been asked meanwhile."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.weight = 1
        self.names = _names(link)


class StackSampler:
    """Requests samples, and keeps those that have arrived until they are taken.

    There is no request to a worker that runs nothing, and no second one to a worker that has not answered:
    nothing piles up.

    Parameters
    ----------
    driver : Driver
        The driver of the pool.
    """

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._requests: dict[int, _Request] = {}  # by incarnation; under the driver's lock
        self._arrived: deque[tuple[_Request, dict[int, str], Sequence[Stack]]] = deque(maxlen=_MOST_KEPT)

    def request(self) -> bool:
        """Request a sample of each worker that runs calls; return whether the workers are running."""
        with self._driver.locked_core() as (core, _):
            if core.state.phase not in ("starting", "running"):
                return False
            links = self._driver.parts.links
            self._requests = {n: each for n, each in self._requests.items() if n in links}
            for incarnation, link in links.items():
                if incarnation in self._requests:
                    self._requests[incarnation].weight += 1
                elif link.slot.sent and not link.dead and not link.lost:
                    self._requests[incarnation] = request = _Request(link)
                    self._driver.stacks.request_of_calls(link, partial(self._answered, request))
        return True

    def _answered(self, request: _Request, stacks: Sequence[Stack]) -> None:
        """Keep an answer; under the driver's lock, so not more than that."""
        self._requests.pop(request.link.incarnation, None)
        self._arrived.append((request, _names(request.link), stacks))

    def take(self) -> list[StackSample]:
        """Return the samples that have arrived since the last time."""
        taken = []
        while self._arrived:
            request, names, stacks = self._arrived.popleft()
            names = {**request.names, **names}
            for stack in stacks:
                frames = tuple(user_frames(stack) or ())
                if frames:
                    # A short call may have come and gone while the request was under way.
                    function = shown_name(names.get(stack.seq, frames[0][2]))
                    taken.append(StackSample(request.link.slot.id, function, request.weight, frames))
        return taken


def _names(link: Link) -> dict[int, str]:
    return {seq: call.name for seq, call in link.slot.sent.items()}
