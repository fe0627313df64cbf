"""Replacement of a process by a new one, which is ready before the old one leaves.

::

    state.slots      old ────────────────┐      new ──────────────>  calls for the number
    state.incoming        new: starts, installs ─┘ takes over the slot
    state.leaving                        └ old: finishes its calls ──> exited

Until the new process is ready and has installed the registry, calls go to the old one. Then the new one takes
over the calls that are pinned to this worker, and its counters. The old one gets no more calls, and is shut
down after its last. If the old one dies before, the new one takes over at once, and becomes ready there. If
the new one does not start, the old one continues.
"""

from __future__ import annotations

from collections.abc import Callable

from .backoff import restart_delay_s
from .dispatcher import Dispatcher
from .effects import Kill
from .lifecycle import ALIVE, SlotState, Trigger
from .replication import Replication
from .slots import Slot
from .state import State
from .tally import Tally

__all__ = ["RESTART_REQUESTED", "Replacements"]

RESTART_REQUESTED = "it was asked to restart"
_PER_REPLACEMENT = (
    4  # one of this many workers is replaced at a time: the machine has to carry both processes
)


class Replacements:
    """Replaces processes by new ones, a few at a time.

    Parameters
    ----------
    state : State
        The shared state of the core.
    dispatcher : Dispatcher
        Notified of slots that take no more calls.
    replication : Replication
        Notified of replaced processes, so that rollouts do not wait for them.
    spawn : callable
        Given a slot, starts a process for it.
    shut_down_if_drained : callable
        Given a draining slot and the time, shuts its process down once it has no more calls.
    """

    def __init__(
        self,
        state: State,
        dispatcher: Dispatcher,
        replication: Replication,
        spawn: Callable[[Slot], None],
        shut_down_if_drained: Callable[[Slot, float], None],
    ) -> None:
        self._state = state
        self._dispatcher = dispatcher
        self._replication = replication
        self._spawn = spawn
        self._shut_down_if_drained = shut_down_if_drained
        self._requested: dict[int, str] = {}  # slot numbers and reasons, in order
        self._delayed: dict[int, str] = {}  # the same, to be requested again after a failure
        self._failures: list[str] = []

    # -- the new process starts -------------------------------------------------------------------------

    def request(self, slot: Slot, why: str) -> None:
        """Request the replacement of a process that serves; it begins when it is due."""
        number = slot.id
        if why != RESTART_REQUESTED and (number in self._requested or number in self._delayed):
            return
        if number not in self._state.incoming:
            self._delayed.pop(number, None)
            self._requested[number] = why
            self._start_next()

    def is_awaited(self) -> bool:
        """Whether a restart that was requested is not completed yet."""
        under_way = (new.reason for new in self._state.incoming.values())
        return RESTART_REQUESTED in (*self._requested.values(), *self._delayed.values(), *under_way)

    def _start_next(self) -> None:
        state = self._state
        for number, why in list(self._requested.items()):
            if len(state.incoming) >= max(1, len(state.slots) // _PER_REPLACEMENT):
                return
            del self._requested[number]
            old = state.slots.get(number)
            # Otherwise its process has exited meanwhile, and another is started anyway.
            if old is not None and old.state in ALIVE and not old.replace_reason and not old.draining:
                new = state.incoming[number] = Slot(number)
                new.reason = why
                state.transition(new, Trigger.START)
                self._spawn(new)

    def cancel(self, number: int, why: str) -> None:
        """Cancel the replacement of a slot."""
        self._requested.pop(number, None)
        self._delayed.pop(number, None)
        new = self._state.incoming.pop(number, None)
        if new is not None:
            new.retired, new.replace_reason = True, why
            self._state.leaving[new.incarnation] = new
            if new.pid is not None:  # else it is killed as soon as it exists
                new.killed = True
                self._state.effects.append(Kill(new.id, new.incarnation))
            self._start_next()

    def restarted(self, number: int) -> None:
        """Record that a process has died, and another is started anyway: no replacement is needed."""
        self._requested.pop(number, None)
        self._delayed.pop(number, None)

    def clear(self, why: str) -> None:
        """Cancel all replacements."""
        self._requested.clear()
        self._delayed.clear()
        self._failures.clear()
        for number in list(self._state.incoming):
            self.cancel(number, why)

    # -- the new process is ready -----------------------------------------------------------------------

    def take_over(self, new: Slot, now: float) -> None:
        """Replace the old process by the new one, which is ready; the old one leaves."""
        state = self._state
        old = state.slots[new.id]
        why, new.reason = new.reason, ""
        state.transition(new, Trigger.READY)
        new.ready_since = now
        new.restarts = old.restarts + 1
        self._swap(new, old)
        if old.state is not SlotState.READY:
            new.state = old.state
            state.transition(new, Trigger.ANSWERS)
        state.emit(new.id, "worker_ready", source="worker", details={"pid": new.pid})
        details = {"reason": why, "pid": new.pid, "old_pid": old.pid}
        state.emit(new.id, "worker_recycled", details=details)
        self.retire(old, why, now)
        self._start_next()

    def promote(self, old: Slot) -> bool:
        """Let an incoming process take over from one that has died; return whether there is one."""
        new = self._state.incoming.get(old.id)
        if new is None:
            return False
        new.reason, new.state, new.restarts = "", old.state, old.restarts
        self._swap(new, old)
        self._start_next()
        return True

    def replace_by(self, new: Slot, old: Slot, why: str, now: float) -> None:
        """Replace a slot that serves by one without a process; the old one leaves."""
        new.state, new.restarts = old.state, old.restarts
        self._swap(new, old)
        self.retire(old, why, now)

    def _swap(self, new: Slot, old: Slot) -> None:
        state = self._state
        state.incoming.pop(new.id, None)
        state.slots[new.id] = new
        new.pinned, old.pinned = old.pinned, new.pinned
        new.deaths, new.crashes = old.deaths, old.crashes
        new.done_at_death = old.done_at_death
        new.tally, old.tally = old.tally, Tally()

    def retire(self, old: Slot, why: str, now: float) -> None:
        """Let a replaced process finish its calls, and leave."""
        old.retired = old.draining = True
        old.reason = why
        self._state.leaving[old.incarnation] = old
        self._dispatcher.update_load(old)
        self._replication.lost(old, "", now)
        self._shut_down_if_drained(old, now)

    def exited(self, old: Slot) -> None:
        """Record that a leaving process has exited."""
        del self._state.leaving[old.incarnation]
        successor = self._state.slots.get(old.id)
        if successor is not None:
            successor.tally.include(old.tally)

    def take_failures(self) -> list[str]:
        """Return, once, why restarts that were requested have failed."""
        failures, self._failures = self._failures, []
        return failures

    # -- the new process does not start -----------------------------------------------------------------

    def start_failed(self, new: Slot, reason: str, now: float) -> None:
        """Record that an incoming process has exited; try again, as often as after a death."""
        state = self._state
        del state.incoming[new.id]
        old, options = state.slots[new.id], state.options
        old.start_failures += 1
        delay = restart_delay_s(old.start_failures, options, state.random())
        details = {"attempt": old.start_failures, "reason": reason, "given_up": delay is None}
        state.emit(new.id, "worker_recycle_failed", "error", details=details)
        if delay is None:
            old.start_failures = 0
            old.no_recycle_until = now + options.restart_stable_after_ms / 1000
            if new.reason == RESTART_REQUESTED:
                self._failures.append(f"worker {new.id} goes on, since no other could be started: {reason}")
        else:
            self._delayed[new.id] = new.reason
            state.timers.call_at(now + delay, lambda _: self._retry(new.id))
        self._start_next()

    def _retry(self, number: int) -> None:
        why = self._delayed.pop(number, None)
        if why is not None:
            self._requested[number] = why
            self._start_next()
