"""How a change of the definitions reaches the workers: on all of them or on none."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ..errors import InstallError
from .dispatch import Dispatch
from .effects import SendForget, SendInstall
from .events import ErrorInfo
from .lifecycle import ALIVE, SlotState
from .registry import Change, Record
from .rollout import Rollout
from .slots import Slot
from .state import State
from .suspects import Suspects

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
    give_up_start : callable
        The same for a process that cannot become ready, which counts as a death.
    """

    def __init__(
        self,
        state: State,
        dispatch: Dispatch,
        replace: Callable[[Slot, str], None],
        give_up_start: Callable[[Slot, str], None],
    ) -> None:
        self._state = state
        self._dispatch = dispatch
        self._replace = replace
        self._give_up_start = give_up_start
        self._suspects = Suspects(state)
        self._rollout: Rollout | None = None

    # -- a change ---------------------------------------------------------------------------------------

    def is_behind(self) -> bool:
        """Whether a worker that runs nothing still installs what is in force: the next change waits for that.

        Nobody would wait for this worker otherwise. So whoever defines again and again could be quicker than
        all the workers together, and none would ever hold what is in force, and take a call.
        """
        return any(
            slot.state in ALIVE and slot.installing and not (slot.sent or slot.replacing or slot.retired)
            for slot in self._state.slots.values()
        )

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
        free = [s.life for s in there if not s.sent and not s.installing]
        rollout = self._rollout = Rollout(change, free)
        for slot in there:
            self._install(slot, change, now)
        if free:
            due = now + state.options.control_timeout_ms / 1000
            # By its number: a timer that held the change itself would hold the memory of its constants.
            epoch = change.epoch
            state.timers.at(due, lambda now: self._took_too_long(epoch, now))
        else:
            self._commit(rollout, now)
        return rollout

    def _install(self, slot: Slot, change: Change, now: float) -> None:
        slot.installing.append(change.epoch)
        self._state.effects.append(SendInstall(slot.id, slot.life, change))
        if slot.ready_since:  # else the time for its start limits it
            self._look_after(slot, change.epoch, slot.life, slot.next_seq, False, now)

    def _look_after(self, slot: Slot, epoch: int, life: int, seq: int, installs: bool, now: float) -> None:
        """Replace a worker that installs for too long, also what was withdrawn or is in force already.

        Parameters
        ----------
        seq : int
            The number of the first call behind the installation.
        installs : bool
            Whether no call was before it any more when it was looked at last.
        """

        def look(now: float) -> None:
            if slot.life != life or epoch not in (*slot.installing, *slot.withdrawn):
                return
            first = not any(number < seq for number in slot.sent)
            if first and installs:
                self._replace(slot, "a definition took too long to install")
            else:
                self._look_after(slot, epoch, life, seq, first, now)

        self._state.timers.at(now + self._state.options.control_timeout_ms / 1000, look)

    def _took_too_long(self, epoch: int, now: float) -> None:
        rollout = self._rollout
        if rollout is None or rollout.change.epoch != epoch:
            return
        limit = self._state.options.control_timeout_ms
        for slot in [s for s in self._state.slots.values() if s.life in rollout.waiting]:
            rollout.refuse(slot.id, InstallError(f"it took longer than control_timeout_ms={limit}"))
            self._replace(slot, "a definition took too long to install")
        self._decide(now)

    def withdraw(self, rollout: Rollout, now: float) -> None:
        """Give up a change that is still under way: whoever asked for it has left."""
        if rollout is not self._rollout:
            return
        waiting = [s for s in self._state.slots.values() if s.life in rollout.waiting and s.ready_since]
        rollout.refuse(0, InstallError("it was interrupted"))
        self._decide(now)
        for slot in waiting:
            self._end_installing(slot, rollout.change.epoch, slot.life, now)

    def _end_installing(self, slot: Slot, epoch: int, life: int, now: float) -> None:
        """Have a worker that was free go on soon: nobody wants what it installs, and calls wait behind it."""

        def look(now: float) -> None:
            if slot.life == life and epoch in slot.withdrawn:
                self._replace(slot, "it went on installing a definition that was interrupted")

        self._state.timers.at(now + self._state.options.interrupt_grace_ms / 1000, look)

    def _decide(self, now: float) -> None:
        rollout = self._rollout
        if rollout is None or not rollout.settled:
            return
        if rollout.refused_by is None:
            self._commit(rollout, now)
            return
        self._rollout = None
        epoch = rollout.change.epoch
        for slot in self._state.slots.values():
            if epoch in slot.installing or slot.life in rollout.holders:
                self._state.effects.append(SendForget(slot.id, slot.life, epoch))
            if epoch in slot.installing:
                slot.installing.remove(epoch)
                slot.withdrawn.append(epoch)  # its answer means nothing any more

    def _commit(self, rollout: Rollout, now: float) -> None:
        self._rollout = None
        rollout.done = True
        state, change = self._state, rollout.change
        for name in (*(record.name for record in change.records), *change.removed):
            old = state.registry.records.get(name)
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
            if slot.life in rollout.holders:
                slot.held = change.epoch
                self._suspects.clear(change.epoch)
            self.catch_up(slot, now)
        self._dispatch.feed(now)

    def catch_up(self, slot: Slot, now: float) -> bool:
        """Send a worker what it lacks, unless that is on its way; return whether it lacks nothing."""
        registry = self._state.registry
        if slot.held == registry.epoch:
            return True
        if slot.held and not slot.installing and not slot.replacing and not slot.retired:
            self._install(slot, registry.since(slot.held), now)
        return False

    # -- what workers answer ----------------------------------------------------------------------------

    def first_install(self, slot: Slot, now: float) -> None:
        """Send a new worker everything."""
        self._install(slot, self._state.registry.since(0), now)

    def _answered(self, slot: Slot, epoch: int) -> bool:
        """Note an answer; return whether it still means something."""
        if epoch in slot.withdrawn:
            slot.withdrawn.remove(epoch)
        return epoch in slot.installing

    def installed(self, slot: Slot, epoch: int, now: float) -> bool:
        """Note that a worker holds an epoch; return whether it holds the one in force now."""
        if self._answered(slot, epoch):  # else it was withdrawn meanwhile
            slot.installing.remove(epoch)
            rollout = self._rollout
            if rollout is not None and epoch == rollout.change.epoch:
                rollout.accept(slot.life)
                self._decide(now)
            else:
                slot.held = epoch
                self._suspects.clear(epoch)
        return self.catch_up(slot, now)

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
        if not self._answered(slot, epoch) or slot.replacing or slot.state is SlotState.STOPPED:
            return
        slot.installing.remove(epoch)
        rollout = self._rollout
        if rollout is not None and epoch == rollout.change.epoch:
            rollout.refuse(slot.id, reason)
            self._decide(now)
        elif slot.retired and slot.held:
            pass  # it gets no more calls, so it may end those that it has
        elif slot.held:
            self._refused_late(slot, epoch, culprit, error, now)
        else:
            self._refused_at_start(slot, epoch, culprit, error, now)

    def _refused_late(self, slot: Slot, epoch: int, culprit: str, error: ErrorInfo, now: float) -> None:
        """Replace a worker that could not install what is in force: it was busy when that was decided."""
        if epoch < self._state.registry.epoch and not slot.installing:
            self.catch_up(slot, now)  # it may do better with what has come after
            return
        self._tell_refusal(slot, epoch, culprit, error)
        self._replace(slot, "it could not install a definition that is in force")

    def _refused_at_start(self, slot: Slot, epoch: int, culprit: str, error: ErrorInfo, now: float) -> None:
        """Start without a definition that no worker can install, or give up this worker.

        The definition was accepted while no worker could try it. It stays, as broken, and harms nobody.
        """
        registry = self._state.registry
        if epoch < registry.epoch:
            self.first_install(slot, now)
            return
        self._tell_refusal(slot, epoch, culprit, error)
        if culprit in registry.records and not self._suspects.is_held(culprit):
            self._break(culprit, f"{error.name}: {error.message}", now)
            self.first_install(slot, now)
        else:
            self._give_up_start(slot, "could not install the definitions")

    def _set_aside(self, slot: Slot, culprit: str, why: str, now: float) -> None:
        self._tell_refusal(slot, self._state.registry.epoch, culprit, ErrorInfo("InstallError", why))
        self._break(culprit, why, now)

    def _break(self, culprit: str, why: str, now: float) -> None:
        """Keep a definition as broken that no worker can install.

        No worker holds it. So no change is under way, which this one would pull the ground from under: the
        workers that one waits for hold everything that is in force.
        """
        registry = self._state.registry
        registry.commit(registry.break_records([culprit], why))
        for other in self._state.processes():
            self.catch_up(other, now)

    def _tell_refusal(self, slot: Slot, epoch: int, culprit: str, error: ErrorInfo) -> None:
        details = {"epoch": epoch, "definition": culprit}
        self._state.emit(
            slot.id, "control_command_failed", "error", source="worker", error=error, details=details
        )

    def lost(self, slot: Slot, report: str, now: float, by_others: bool = False) -> None:
        """Note that a worker is gone; if it died while it installed, that is a refusal.

        Parameters
        ----------
        report : str
            How it died; empty if the pool has ended it.
        by_others : bool
            Whether somebody may have ended it.
        """
        if report and slot.installing:
            culprit = self._suspects.died_at(slot, by_others)
            if culprit:
                self._set_aside(slot, culprit, f"workers die while they install it: the last {report}", now)
        rollout = self._rollout
        if rollout is None:
            return
        if report and slot.life in rollout.waiting and rollout.change.epoch in slot.installing:
            rollout.refuse(slot.id, InstallError(f"the worker died while it installed it: it {report}"))
        else:
            rollout.lose(slot.life)
        self._decide(now)

    def awaited(self) -> list[int]:
        """Return the processes, by life, whose answer the change under way waits for."""
        return sorted(self._rollout.waiting) if self._rollout is not None else []
