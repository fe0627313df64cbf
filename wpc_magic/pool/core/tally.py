"""How many calls have ended, and how: one kind of counter, of functions, of slots, and of the pool."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

__all__ = ["Outcome", "Tally", "sum_of"]

Outcome = Literal["done", "failed", "cancelled", "timed_out", "worker_lost", "not_run"]


class Tally:
    """Counts single calls and items of maps that have ended. A chunk of a map is no call, but its items.

    Attributes
    ----------
    calls : int
        Single calls that have ended, in whatever way; a stream is one.
    items : int
        Items of maps that have ended, in whatever way. One that is retried counts each time that it ends.
    raised, timed_out, worker_lost, not_run : int
        Those of both that have failed: the function raised; it took too long; its worker was lost; or the
        pool was stopped, or no worker could run it.
    cancelled : int
        Those of both that were cancelled: these have not failed.

    Examples
    --------
    >>> tally = Tally()
    >>> tally.add(0, "done")
    >>> tally.add(100, "done", failed=2)
    >>> tally.add(0, "cancelled")
    >>> tally.calls, tally.items, tally.failed, tally.cancelled, tally.done
    (2, 100, 2, 1, 99)
    """

    __slots__ = ("calls", "cancelled", "items", "not_run", "raised", "timed_out", "worker_lost")

    def __init__(self) -> None:
        self.calls = self.items = 0
        self.raised = self.timed_out = self.worker_lost = self.not_run = self.cancelled = 0

    @property
    def failed(self) -> int:
        """How many have ended with an error."""
        return self.raised + self.timed_out + self.worker_lost + self.not_run

    @property
    def done(self) -> int:
        """How many have ended with a value."""
        return self.calls + self.items - self.failed - self.cancelled

    def add(self, items: int, outcome: Outcome, failed: int = 0) -> None:
        """Count what has ended.

        Parameters
        ----------
        items : int
            How many items of a map; 0: it is a single call.
        outcome : str
            How all of it has ended.
        failed : int
            If it is done: how many of the items have failed.
        """
        if items:
            self.items += items
        else:
            self.calls += 1
        count = items or 1
        if outcome == "done":
            self.raised += failed
        elif outcome == "failed":
            self.raised += count
        elif outcome == "cancelled":
            self.cancelled += count
        elif outcome == "timed_out":
            self.timed_out += count
        elif outcome == "worker_lost":
            self.worker_lost += count
        else:
            self.not_run += count

    def include(self, other: Tally) -> None:
        """Add what another one has counted."""
        # One by one: a dashboard adds up all functions several times a second.
        self.calls += other.calls
        self.items += other.items
        self.raised += other.raised
        self.timed_out += other.timed_out
        self.worker_lost += other.worker_lost
        self.not_run += other.not_run
        self.cancelled += other.cancelled

    def by_outcome(self) -> dict[Outcome, int]:
        """Return how many have ended in which way; without ways that have not occurred."""
        counts: dict[Outcome, int] = {
            "cancelled": self.cancelled,
            "done": self.done,
            "failed": self.raised,
            "not_run": self.not_run,
            "timed_out": self.timed_out,
            "worker_lost": self.worker_lost,
        }
        return {outcome: count for outcome, count in counts.items() if count > 0}


def sum_of(tallies: Iterable[Tally]) -> Tally:
    """Return one tally of all that some have counted.

    Examples
    --------
    >>> one, other = Tally(), Tally()
    >>> one.add(0, "done")
    >>> other.add(7, "worker_lost")
    >>> sum_of([one, other]).by_outcome()
    {'done': 1, 'worker_lost': 7}
    """
    total = Tally()
    for each in tallies:
        total.include(each)
    return total
