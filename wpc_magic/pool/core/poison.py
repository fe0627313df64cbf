"""Poison definitions: one that kills each worker that installs it must not take every worker out of service.

It was committed while no worker was idle to try it, or before any was started. If it raises, the worker
reports that; if it ends the process or never returns, only the status page says what was being installed.
"""

from __future__ import annotations

from .slots import Slot
from .state import State

__all__ = ["PoisonDefinitions"]

_DEATHS_TO_BLAME = 2
"""A definition is at fault after so many deaths while it is installed, not counting external kills."""
_DEATHS_OF_ANY_CAUSE = 3
"""Or after so many of any cause: one or two may be external kills."""


class PoisonDefinitions:
    """Counts deaths by the definition that was being installed.

    Parameters
    ----------
    state : State
        The shared state of the core.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._deaths: dict[tuple[str, int], list[bool]] = {}  # by name and epoch of its last change

    def worker_died(self, slot: Slot, by_others: bool) -> str:
        """Record a worker's death; return the definition at fault, if the evidence suffices.

        Parameters
        ----------
        by_others : bool
            Whether it may have been killed from outside.
        """
        registry = self._state.registry
        name = self._state.installing(slot.incarnation)
        record = registry.records.get(name)
        if record is None or record.broken is not None or self.is_installed(name):
            return ""
        deaths = self._deaths.setdefault((name, registry.changed_at(name)), [])
        deaths.append(by_others)
        if deaths.count(False) < _DEATHS_TO_BLAME and len(deaths) < _DEATHS_OF_ANY_CAUSE:
            return ""
        self._deaths.clear()
        return name

    def clear(self, epoch: int) -> None:
        """Record that a worker has installed an epoch: no definition of that epoch is at fault."""
        self._deaths = {revision: each for revision, each in self._deaths.items() if revision[1] > epoch}

    def is_installed(self, name: str) -> bool:
        """Whether any worker has the current revision installed: then the definition is not at fault."""
        since = self._state.registry.changed_at(name)
        return any(slot.installed_epoch >= since for slot in self._state.slots.values())
