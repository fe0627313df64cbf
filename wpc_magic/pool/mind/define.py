"""How a change of the definitions reaches the workers: on all of them or on none."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ..errors import InstallError
from .dispatch import Dispatch
from .effects import SendForget, SendInstall
from .events import ErrorInfo
from .lifecycle import ALIVE
from .registry import Change, Record
from .rollout import Rollout
from .slots import Slot
from .state import State

__all__ = ["Definitions"]


class Definitions:
    """The registry, and what each worker holds of it.

    One change at a time is under way: the driver sees to that.

    Parameters
    ----------
    state : State
        What the parts of the core share.
    dispatch : Dispatch
        Who may take calls depends on what it holds.
    replace : callable
        Given a slot and a reason, ends its process and has the slot filled again.
    """

    def __init__(self, state: State, dispatch: Dispatch, replace: Callable[[Slot, str], None]) -> None:
        self._state = state
        self._dispatch = dispatch
        self._replace = replace
        self._rollout: Rollout | None = None

    # -- a change ---------------------------------------------------------------------------------------

    def propose(self, records: Iterable[Record], removed: Iterable[str], now: float) -> Rollout:
        """Ask the workers to hold a change beside what is in force; return how that goes.

        Where no worker is free to answer, it takes effect at once: a busy worker installs when its call has
        ended, and gets no calls of the new epoch before.

        Raises
        ------
        OptionError
            If a name stands for another kind already.
        """
        state = self._state
        change = state.registry.propose(records, removed)
        there = [s for s in state.slots.values() if s.state in ALIVE and not s.replacing and not s.retired]
        free = [s.id for s in there if not s.sent and not s.installing]
        rollout = self._rollout = Rollout(change, free)
        for slot in there:
            self._install(slot, change)
        if free:
            due = now + state.options.control_timeout_ms / 1000
            state.timers.at(due, lambda now: self._took_too_long(rollout, now))
        else:
            self._commit(rollout, now)
        return rollout

    def _install(self, slot: Slot, change: Change) -> None:
        slot.installing.append(change.epoch)
        self._state.effects.append(SendInstall(slot.id, slot.life, change))

    def _took_too_long(self, rollout: Rollout, now: float) -> None:
        if rollout is not self._rollout:
            return
        limit = self._state.options.control_timeout_ms
        for number in sorted(rollout.waiting):
            rollout.refuse(number, InstallError(f"it took longer than control_timeout_ms={limit}"))
            slot = self._state.slots.get(number)
            if slot is not None:
                self._replace(slot, "a definition took too long to install")
        self._decide(now)

    def withdraw(self, rollout: Rollout, now: float) -> None:
        """Give up a change that is still under way: whoever asked for it has left."""
        if rollout is self._rollout:
            rollout.refuse(0, InstallError("it was interrupted"))
            self._decide(now)

    def _decide(self, now: float) -> None:
        rollout = self._rollout
        if rollout is None or not rollout.settled:
            return
        if rollout.refused_by is None:
            self._commit(rollout, now)
            return
        self._rollout = None
        for slot in self._state.slots.values():
            if slot.pid is not None:
                self._state.effects.append(SendForget(slot.id, slot.life, rollout.change.epoch))
                if rollout.change.epoch in slot.installing:
                    slot.installing.remove(rollout.change.epoch)  # its answer means nothing any more
                if slot.held == rollout.change.epoch:
                    slot.held = self._state.registry.epoch

    def _commit(self, rollout: Rollout, now: float) -> None:
        self._rollout = None
        rollout.done = True
        state, change = self._state, rollout.change
        for record in change.records:
            old = state.registry.records.get(record.name)
            if old is not None:
                state.stats.pop(old.key, None)
        state.registry.commit(change)
        details: dict[str, Any] = {
            "defined": [record.name for record in change.records],
            "removed": list(change.removed),
            "epoch": change.epoch,
        }
        state.emit(0, "definition_changed", details=details)
        for slot in state.slots.values():
            self.catch_up(slot)
        self._dispatch.feed(now)

    def catch_up(self, slot: Slot) -> bool:
        """Send a worker what it lacks, unless that is on its way; return whether it lacks nothing."""
        registry = self._state.registry
        if slot.held == registry.epoch:
            return True
        if slot.held and not slot.installing and slot.pid is not None:
            self._install(slot, registry.since(slot.held))
        return False

    # -- what workers answer ----------------------------------------------------------------------------

    def first_install(self, slot: Slot) -> None:
        """Send a new worker everything."""
        self._install(slot, self._state.registry.since(0))

    def installed(self, slot: Slot, epoch: int, now: float) -> bool:
        """Note that a worker holds an epoch; return whether it holds the one in force now."""
        if epoch not in slot.installing:  # it was withdrawn meanwhile
            return slot.held == self._state.registry.epoch
        slot.installing.remove(epoch)
        rollout = self._rollout
        if rollout is not None and epoch == rollout.change.epoch:
            slot.held = epoch
            rollout.accept(slot.id)
            self._decide(now)
            return slot.held == self._state.registry.epoch
        slot.held = epoch
        return self.catch_up(slot)

    def refused(
        self, slot: Slot, epoch: int, culprit: str, error: ErrorInfo, reason: Any, now: float
    ) -> None:
        """Note that a worker could not install an epoch.

        Parameters
        ----------
        culprit : str
            The definition at fault; empty: not known.
        error : ErrorInfo
            Why, as text.
        reason : object
            Why, for whoever asked for the change; opaque here.
        """
        if epoch not in slot.installing:
            return
        slot.installing.remove(epoch)
        rollout = self._rollout
        if rollout is not None and epoch == rollout.change.epoch:
            rollout.refuse(slot.id, reason)
            self._decide(now)
            return
        if epoch < self._state.registry.epoch or rollout is not None:
            # What it refused is not in force any more, or will not be for long.
            if slot.held:
                self.catch_up(slot)
            else:
                self.first_install(slot)
            return
        details = {"epoch": epoch, "definition": culprit}
        self._state.emit(
            slot.id, "control_command_failed", "error", source="worker", error=error, details=details
        )
        if slot.held:
            self._replace(slot, "it could not install a definition that is in force")
        elif culprit in self._state.registry.records:
            # It was accepted while no worker could try it. It stays, as broken, and harms nobody.
            why = f"{error.name}: {error.message}"
            self._state.registry.commit(self._state.registry.break_records([culprit], why))
            for other in self._state.slots.values():
                self.catch_up(other)
            self.first_install(slot)
        else:
            self._replace(slot, "it could not install the definitions")

    def lost(self, slot: Slot, by_itself: bool, now: float) -> None:
        """Note that a worker is gone; if it died while it installed, that is a refusal."""
        rollout = self._rollout
        if rollout is None:
            return
        if by_itself and slot.id in rollout.waiting and rollout.change.epoch in slot.installing:
            rollout.refuse(slot.id, InstallError("the worker died while it installed it"))
        else:
            rollout.lose(slot.id)
        self._decide(now)

    def awaited(self) -> list[int]:
        """Return the slots whose answer the change under way waits for."""
        return sorted(self._rollout.waiting) if self._rollout is not None else []
