"""A process takes another's place: the new one is ready before the old one goes.

::

    state.slots      old ────────────────┐      new ──────────────>  calls for the number
    state.incoming        new: starts, installs ─┘ takes the seat
    state.leaving                        └ old: ends what it holds ──> gone

Until the new process is ready and holds the registry, calls go to the old one. Then the new one has its
place: what waits there for this worker, and what it counts. The old one gets no more calls, and leaves with
its last. If the old one dies before, the new one takes its place at once, and becomes ready there. If the new
one does not come up, the old one goes on.
"""

from __future__ import annotations

from collections.abc import Callable

from .define import Definitions
from .dispatch import Dispatch
from .effects import Kill
from .lifecycle import ALIVE, Cause, SlotState
from .restart import restart_delay_s
from .slots import Slot
from .state import State

__all__ = ["ASKED", "Overlap"]

ASKED = "it was asked to restart"
_AT_ONCE = 4  # of so many workers one is taken over from at a time: the machine has to bear both


class Overlap:
    """Has new processes take the places of old ones, one after another.

    Parameters
    ----------
    state : State
        What the parts of the core share.
    dispatch : Dispatch
        Who may take calls depends on who serves.
    definitions : Definitions
        Whom a change waits for depends on it, too.
    spawn : callable
        Given a slot, has a process started for it.
    leave : callable
        Given a slot that gets no more calls, and the time, has its process end with the last.
    """

    def __init__(
        self,
        state: State,
        dispatch: Dispatch,
        definitions: Definitions,
        spawn: Callable[[Slot], None],
        leave: Callable[[Slot, float], None],
    ) -> None:
        self._state = state
        self._dispatch = dispatch
        self._definitions = definitions
        self._spawn = spawn
        self._leave = leave
        self._waiting: dict[int, str] = {}  # whose place is to be taken, and why, in order
        self._delayed: dict[int, str] = {}  # the same, after a failure
        self._failures: list[str] = []

    # -- the new one comes ------------------------------------------------------------------------------

    def ask(self, slot: Slot, why: str) -> None:
        """Have a new process take the place of one that serves, when its turn comes."""
        number = slot.id
        if why != ASKED and (number in self._waiting or number in self._delayed):
            return
        if number not in self._state.incoming:
            self._delayed.pop(number, None)
            self._waiting[number] = why
            self._next()

    def is_awaited(self) -> bool:
        """Whether a restart that somebody has asked for is not done yet."""
        under_way = (new.why for new in self._state.incoming.values())
        return ASKED in (*self._waiting.values(), *self._delayed.values(), *under_way)

    def _next(self) -> None:
        state = self._state
        for number, why in list(self._waiting.items()):
            if len(state.incoming) >= max(1, len(state.slots) // _AT_ONCE):
                return
            del self._waiting[number]
            old = state.slots.get(number)
            # Where there is no place to take, its process has gone meanwhile, and it is filled anew anyway.
            if old is not None and old.state in ALIVE and not old.replacing and not old.drains:
                new = state.incoming[number] = Slot(number)
                new.why = why
                state.move(new, Cause.START)
                self._spawn(new)

    def drop(self, number: int, why: str) -> None:
        """Have nothing take this place any more."""
        self._waiting.pop(number, None)
        self._delayed.pop(number, None)
        new = self._state.incoming.pop(number, None)
        if new is not None:
            new.retired, new.replacing = True, why
            self._state.leaving[new.life] = new
            if new.pid is not None:  # else it is ended when it is there
                self._state.effects.append(Kill(new.id, new.life))
            self._next()

    def renewed(self, number: int) -> None:
        """Note that a process has died, and another one comes anyway: what was asked for is done."""
        self._waiting.pop(number, None)
        self._delayed.pop(number, None)

    def clear(self, why: str) -> None:
        """Have nothing take any place any more."""
        self._waiting.clear()
        self._delayed.clear()
        self._failures.clear()
        for number in list(self._state.incoming):
            self.drop(number, why)

    # -- it is ready ------------------------------------------------------------------------------------

    def take_over(self, new: Slot, now: float) -> None:
        """Give a process that is ready the place of the old one, which leaves."""
        state = self._state
        old = state.slots[new.id]
        why, new.why = new.why, ""
        state.move(new, Cause.READY)
        new.ready_since = now
        new.restarts = old.restarts + 1
        self._seat(new, old)
        if old.state is not SlotState.READY:
            new.state = old.state
            state.move(new, Cause.ANSWERS)
        state.emit(new.id, "worker_ready", source="worker", details={"pid": new.pid})
        details = {"reason": why, "pid": new.pid, "old_pid": old.pid}
        state.emit(new.id, "worker_recycled", details=details)
        self.send_off(old, why, now)
        self._next()

    def promote(self, old: Slot) -> bool:
        """Give one that comes the place of one that has died; return whether there is one."""
        new = self._state.incoming.get(old.id)
        if new is None:
            return False
        new.why, new.state, new.restarts = "", old.state, old.restarts
        self._seat(new, old)
        self._next()
        return True

    def replace_by(self, new: Slot, old: Slot, why: str, now: float) -> None:
        """Give a slot that has no process the place of one that serves, which leaves."""
        new.state, new.restarts = old.state, old.restarts
        self._seat(new, old)
        self.send_off(old, why, now)

    def _seat(self, new: Slot, old: Slot) -> None:
        state = self._state
        state.incoming.pop(new.id, None)
        state.slots[new.id] = new
        new.pinned, old.pinned = old.pinned, new.pinned
        new.deaths = old.deaths
        new.done, new.failed = old.done, old.failed
        old.done = old.failed = 0

    def send_off(self, old: Slot, why: str, now: float) -> None:
        """Have a process whose place is taken end what it holds, and leave."""
        old.retired = old.drains = True
        old.why = why
        self._state.leaving[old.life] = old
        self._dispatch.close(old)
        self._definitions.lost(old, "", now)
        self._leave(old, now)

    def gone(self, old: Slot) -> None:
        """Note that a process that was leaving is gone."""
        del self._state.leaving[old.life]
        heir = self._state.slots.get(old.id)
        if heir is not None:
            heir.done += old.done
            heir.failed += old.failed

    def take_failures(self) -> list[str]:
        """Return, once, what came of restarts that were asked for and given up."""
        failures, self._failures = self._failures, []
        return failures

    # -- it does not come up ----------------------------------------------------------------------------

    def failed(self, new: Slot, reason: str, now: float) -> None:
        """Note that a process is gone that was to take a place; try again, as often as after a death."""
        state = self._state
        del state.incoming[new.id]
        old, options = state.slots[new.id], state.options
        old.failures += 1
        delay = restart_delay_s(old.failures, options, state.dice())
        details = {"attempt": old.failures, "reason": reason, "given_up": delay is None}
        state.emit(new.id, "worker_recycle_failed", "error", details=details)
        if delay is None:
            old.failures = 0
            old.spare_until = now + options.restart_stable_after_ms / 1000
            if new.why == ASKED:
                self._failures.append(f"worker {new.id} goes on, since no other could be started: {reason}")
        else:
            self._delayed[new.id] = new.why
            state.timers.at(now + delay, lambda _: self._again(new.id))
        self._next()

    def _again(self, number: int) -> None:
        why = self._delayed.pop(number, None)
        if why is not None:
            self._waiting[number] = why
            self._next()
