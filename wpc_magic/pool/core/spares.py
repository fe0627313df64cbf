"""Spare workers: processes that have everything installed, and take the place of one that has died.

::

    state.spares     starts, installs, waits ──┐  number 0: no call can be for it
    state.slots      old ──────── dies         └──> has its number, answers that it knows, and is ready

A spare serves nobody, so that it is no part of any decision about calls. It is started once all workers are
there, and only while memory is left for it: else what it saves, the time of a start, costs the others more.
"""

from __future__ import annotations

from collections.abc import Callable

from .backoff import restart_delay_s
from .effects import Kill, SendNumber
from .lifecycle import SlotState, Trigger
from .replication import Replication
from .room import why_no_room
from .slots import Slot
from .state import State
from .tally import Tally

__all__ = ["Spares"]

_STARTING_STATES = frozenset({SlotState.STARTING, SlotState.RESTARTING})


class Spares:
    """Keeps as many spare workers as `spare_workers` says.

    Parameters
    ----------
    state : State
        The shared state of the core.
    replication : Replication
        Watches the start of one that takes a place.
    spawn : callable
        Given a slot, starts a process for it.
    """

    def __init__(self, state: State, replication: Replication, spawn: Callable[[Slot], None]) -> None:
        self._state = state
        self._replication = replication
        self._spawn = spawn
        self._failures = 0  # in a row, of starts
        self._not_before = 0.0  # seconds
        self._has_told = False  # that there is no room

    # -- how many there are -----------------------------------------------------------------------------

    def check(self, now: float) -> None:
        """Start those that are missing, and end those that are too many, or for which there is no room."""
        state = self._state
        if not (self._wanted() or state.spares) or state.phase != "running":
            return
        for slot in list(state.spares.values())[self._wanted() :]:
            self.end(slot, "so many spare workers are not wanted any more")
        room = state.room_for_spares() if self._wanted() else None
        if room is None:
            return
        why = why_no_room(room, True)
        if why:
            for slot in list(state.spares.values()):
                self.end(slot, f"memory is short: {why}")
        self._fill(why or why_no_room(room, False), now)

    def _wanted(self) -> int:
        """Return how many there are to be: no more than workers whose places they could take."""
        options = self._state.options
        if not options.spare_workers or not options.restart_on_failure:
            return 0
        return min(options.spare_workers, sum(not slot.retired for slot in self._state.slots.values()))

    def _fill(self, why_not: str, now: float) -> None:
        state = self._state
        is_missing = len(state.spares) < self._wanted()
        if not is_missing or now < self._not_before or not state.usable() or self._is_a_process_starting():
            return
        if why_not:
            if not self._has_told:
                self._has_told = True
                state.emit(0, "spare_worker_waits", "warn", details={"reason": f"memory is short: {why_not}"})
            return
        self._has_told = False
        slot = Slot(0)
        state.transition(slot, Trigger.START)
        self._spawn(slot)
        state.spares[slot.incarnation] = slot

    def _is_a_process_starting(self) -> bool:
        """Whether a worker or a spare is being started: it has the machine, and its memory is not known."""
        state = self._state
        return any(not slot.ready_since for slot in state.spares.values()) or any(
            slot.state in _STARTING_STATES and not slot.waits_for for slot in state.slots.values()
        )

    def end(self, slot: Slot, why: str) -> None:
        """End one of them."""
        state = self._state
        del state.spares[slot.incarnation]
        state.leaving[slot.incarnation] = slot
        slot.retired, slot.replace_reason = True, why
        if slot.pid is not None:  # else it is killed as soon as it exists
            slot.killed = True
            state.effects.append(Kill(slot.id, slot.incarnation))

    def clear(self, why: str) -> None:
        """End all of them: the pool stops, or those that come are to be started later than now."""
        for slot in list(self._state.spares.values()):
            self.end(slot, why)

    def died(self, slot: Slot, was_ready: bool, now: float) -> None:
        """Record that a spare has exited before it was needed; another is started, after a delay."""
        state = self._state
        del state.spares[slot.incarnation]
        self._failures = 1 if was_ready else self._failures + 1
        delay = restart_delay_s(self._failures, state.options, state.random())
        if delay is None:
            delay = state.options.restart_stable_after_ms / 1000
        self._not_before = now + delay
        state.timers.call_at(self._not_before, self.check)

    # -- one takes a place ------------------------------------------------------------------------------

    def ready(self, slot: Slot, now: float) -> None:
        """Record that a spare has installed what is in force. It stays `starting`: no call may go there."""
        if not slot.ready_since:
            slot.ready_since = now
            self._failures = 0
            self._state.emit(0, "spare_worker_ready", source="worker", details={"pid": slot.pid})
            self.check(now)

    def take(self, old: Slot, now: float) -> bool:
        """Let a spare take over from a process that has exited; return whether there is one."""
        state = self._state
        spare = self._best()
        if spare is None:
            return False
        del state.spares[spare.incarnation]
        was_ready, spare.ready_since = bool(spare.ready_since), 0.0
        old.restart_at = 0.0
        spare.id, spare.state, spare.restarts = old.id, old.state, old.restarts
        spare.deaths, spare.crashes, spare.done_at_death = old.deaths, old.crashes, old.done_at_death
        spare.pinned, old.pinned = old.pinned, spare.pinned
        spare.tally, old.tally = old.tally, Tally()
        spare.call_limit = state.options.max_calls_per_worker or 0
        state.slots[spare.id] = spare
        assert spare.pid is not None
        state.history.process_started(spare.incarnation, spare.id, spare.pid, now)
        state.emit(spare.id, "spare_worker_used", details={"pid": spare.pid})
        # Effects are performed after calls are sent. So it is ready when it has answered this, unless it has
        # something else to answer before: no call runs there under the number 0.
        epoch = 0 if spare.installing or not was_ready else spare.installed_epoch
        if epoch:
            spare.installing.append(epoch)
            spare.installed_epoch = 0  # until then
        state.effects.append(SendNumber(spare.id, spare.incarnation, epoch))
        if was_ready:
            self._replication.watch_start(spare, now)
        return True

    def is_one_ready(self) -> bool:
        """Whether a spare can take a place, and has installed everything."""
        spare = self._best()
        return spare is not None and bool(spare.ready_since)

    def _best(self) -> Slot | None:
        """Return the spare that serves soonest; one that is only being started has no process yet."""
        spares = [
            slot
            for slot in self._state.spares.values()
            if slot.pid is not None and not slot.replace_reason and not slot.killed
        ]
        return min(spares, key=lambda slot: not slot.ready_since, default=None)
