"""The maps that go on: how far they are, for whoever looks at the pool."""

from __future__ import annotations

import dataclasses
import itertools
import weakref
from collections import deque
from typing import TYPE_CHECKING

from ..options import shown_name

if TYPE_CHECKING:
    from .chunks import Chunks

__all__ = ["RunningMap", "RunningMaps"]

_KEPT = 64  # of the latest maps it is known that they go on


@dataclasses.dataclass(frozen=True, slots=True)
class RunningMap:
    """A map that has not ended.

    Parameters
    ----------
    number : int
        Which of the pool's maps it is, from 1.
    function : str
        The function.
    done, failed : int
        How many items have ended with a value, and with an error, as its caller knows.
    total : int or None
        How many items it has; None: that is not known.
    sent : int
        How many items have been sent to workers, or are queued for them.
    in_flight : int
        How many of these have not been received.
    running_s : float or None
        How long ago its caller has asked for the first result, in seconds; None: it has not.
    origin : object
        Where it was made, as of a call.
    """

    number: int
    function: str
    done: int = 0
    failed: int = 0
    total: int | None = None
    sent: int = 0
    in_flight: int = 0
    running_s: float | None = None
    origin: object = None

    @property
    def rate(self) -> float | None:
        """How many items have ended a second; None: not known yet."""
        ended = self.done + self.failed
        return ended / self.running_s if self.running_s and ended else None

    @property
    def left_s(self) -> float | None:
        """How long it takes to its end, at this rate, in seconds; None: not known."""
        if self.total is None or not self.rate:
            return None
        return max(0, self.total - self.done - self.failed) / self.rate


class RunningMaps:
    """Knows the maps of a pool, and keeps none of them alive."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._made: deque[tuple[int, weakref.ref[Chunks]]] = deque(maxlen=_KEPT)

    def add(self, chunks: Chunks) -> None:
        """Note that a map has been made; in any thread."""
        self._made.append((next(self._numbers), weakref.ref(chunks)))

    def find(self, number: int) -> Chunks | None:
        """Return the map of that number, if it goes on."""
        return next((chunks for known, chunks in self._going_on() if known == number), None)

    def _going_on(self) -> list[tuple[int, Chunks]]:
        found = [(number, ref()) for number, ref in tuple(self._made)]
        return [(number, chunks) for number, chunks in found if chunks is not None and not chunks.is_over]

    def seen(self, now: float) -> list[RunningMap]:
        """Return the maps that go on, the latest last, given the time on the monotonic clock."""
        return [
            RunningMap(
                number=number,
                function=shown_name(chunks.name),
                done=chunks.done,
                failed=chunks.failures.count,
                total=chunks.total,
                sent=chunks.sent,
                in_flight=sum(each.call.items for each in chunks.in_flight()),
                running_s=max(now - chunks.began_s, 0.0) if chunks.began_s else None,
                origin=chunks.origin,
            )
            for number, chunks in self._going_on()
        ]
