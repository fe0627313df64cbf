"""Definitions at which workers die: one that nobody can install must not take every worker out of service.

It was accepted while no worker was free to try it, or before any was started. Where it raises, the worker
says so; where it ends the process or never returns, only the status page tells what was being installed.
"""

from __future__ import annotations

from .slots import Slot
from .state import State

__all__ = ["Suspects"]

_PROOF = 2
"""So many workers in a row must have died at it, of what nobody does to them from outside."""
_PROOF_OF_ALL = 3
"""Or so many of whatever: one or two may have been killed by somebody."""


class Suspects:
    """Counts deaths by the definition that was being installed.

    Parameters
    ----------
    state : State
        What the parts of the core share.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._deaths: dict[tuple[str, int], list[bool]] = {}  # by name, and since when it is as it is

    def died_at(self, slot: Slot, by_others: bool) -> str:
        """Note that a worker has died; return the definition that is at fault, if that is proved by now.

        Parameters
        ----------
        by_others : bool
            Whether somebody may have ended it.
        """
        registry = self._state.registry
        name = self._state.installing(slot.life)
        record = registry.records.get(name)
        if record is None or record.broken is not None or self.is_held(name):
            return ""
        deaths = self._deaths.setdefault((name, registry.changed_at(name)), [])
        deaths.append(by_others)
        if deaths.count(False) < _PROOF and len(deaths) < _PROOF_OF_ALL:
            return ""
        self._deaths.clear()
        return name

    def clear(self, epoch: int) -> None:
        """Note that a worker holds an epoch: no definition that was in force then is at fault."""
        self._deaths = {revision: each for revision, each in self._deaths.items() if revision[1] > epoch}

    def is_held(self, name: str) -> bool:
        """Whether any worker holds the revision in force: then it is not the definition that is at fault."""
        since = self._state.registry.changed_at(name)
        return any(slot.held >= since for slot in self._state.slots.values())
