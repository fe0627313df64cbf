"""One change on its way to the workers: who was asked, who answered, what that decides."""

from __future__ import annotations

from collections.abc import Iterable

from .registry import Change

__all__ = ["Rollout"]


class Rollout:
    """Decides over one change.

    All workers that were free when they were asked have to install it; one refusal withdraws it everywhere.
    A busy worker installs when its call has ended, and is not waited for.

    Parameters
    ----------
    change : Change
        What is rolled out.
    free : iterable of int
        The processes, by their lives, that were asked and held no calls then.

    Attributes
    ----------
    waiting : set of int
        Those of them that have not answered.
    holders : set of int
        The processes, free or not, that hold the change beside what is in force.
    refused_by : int or None
        The number of the slot that has refused it.

    Examples
    --------
    >>> rollout = Rollout(Change(1, 0, (), ()), free=[1, 2])
    >>> rollout.accept(1); rollout.settled
    False
    >>> rollout.accept(2); rollout.settled
    True
    """

    def __init__(self, change: Change, free: Iterable[int]) -> None:
        self.change = change
        self.waiting = set(free)
        self.holders: set[int] = set()
        self.done = False  # whether it is in force
        self.refused_by: int | None = None
        self.reason: object = None

    @property
    def over(self) -> bool:
        """Whether it is in force, or was refused."""
        return self.done or self.refused_by is not None

    @property
    def settled(self) -> bool:
        """Whether the outcome is known: one has refused, or none is waited for any more."""
        return self.refused_by is not None or not self.waiting

    def accept(self, life: int) -> None:
        """Note that a worker has installed it."""
        self.waiting.discard(life)
        self.holders.add(life)

    def refuse(self, slot: int, reason: object) -> None:
        """Note that a worker could not install it."""
        if self.refused_by is None:
            self.refused_by, self.reason = slot, reason

    def lose(self, life: int) -> None:
        """Note that a worker is gone for a cause of its own: it will start with what is in force."""
        self.waiting.discard(life)
        self.holders.discard(life)
