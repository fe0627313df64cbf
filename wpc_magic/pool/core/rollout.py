"""The rollout of one change to the workers: a two-phase commit."""

from __future__ import annotations

from collections.abc import Iterable

from .registry import Change

__all__ = ["Rollout"]


class Rollout:
    """Collects the workers' votes on one change.

    All workers that were idle when it was proposed must install it; one refusal aborts it on all. A busy
    worker installs it when its calls have ended, and is not waited for.

    Parameters
    ----------
    change : Change
        The change.
    free : iterable of int
        The incarnations of the workers that had no calls when it was proposed.

    Attributes
    ----------
    pending : set of int
        Those of them that have not voted.
    holders : set of int
        The incarnations, free or busy, that have installed the change beside the current epoch.
    committed : bool
        Whether it took effect.
    refused_by : int or None
        The number of the slot that refused it; 0: the caller aborted it.

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
        self.pending = set(free)
        self.holders: set[int] = set()
        self.committed = False
        self.refused_by: int | None = None
        self.reason: object = None

    @property
    def decided(self) -> bool:
        """Whether it was committed, or is aborted."""
        return self.committed or self.refused_by is not None

    @property
    def settled(self) -> bool:
        """Whether the votes decide it: one is a refusal, or none is pending."""
        return self.refused_by is not None or not self.pending

    def accept(self, incarnation: int) -> None:
        """Record that a worker has installed it."""
        self.pending.discard(incarnation)
        self.holders.add(incarnation)

    def refuse(self, slot: int, reason: object) -> None:
        """Record that a worker could not install it."""
        if self.refused_by is None:
            self.refused_by, self.reason = slot, reason

    def lose(self, incarnation: int) -> None:
        """Record that a worker exited for another reason: its successor starts with the current epoch."""
        self.pending.discard(incarnation)
        self.holders.discard(incarnation)
