"""Signs of life: every worker is asked for one now and then, and one that is silent gets no calls.

Silent is a process that is stopped, or whose C code does not let go of the interpreter's lock. Where it runs
a call, that is left to the call's time-out: to end it is not ours to decide. Where it runs nothing and stays
silent, it is replaced as soon as a call waits that it could run.
"""

from __future__ import annotations

from collections.abc import Callable

from .calls import Call
from .dispatch import Dispatch
from .effects import SendPing
from .lifecycle import ALIVE, Cause, SlotState
from .slots import Slot
from .state import State

__all__ = ["Heartbeat"]


_CALM = 4
"""So many times as long is the interval while no worker runs anything: an idle pool costs next to nothing."""


class Heartbeat:
    """Asks for signs of life while the pool runs.

    Parameters
    ----------
    state : State
        What the parts of the core share.
    dispatch : Dispatch
        Who may take calls depends on who answers.
    replace : callable
        Given a slot and a reason, ends its process and has the slot filled again.
    look : callable
        Called with the time at every beat.
    """

    def __init__(
        self,
        state: State,
        dispatch: Dispatch,
        replace: Callable[[Slot, str], None],
        look: Callable[[float], None],
    ) -> None:
        self._state = state
        self._dispatch = dispatch
        self._replace = replace
        self._look = look

    def beat(self, now: float) -> None:
        """Ask every worker, and note who has been silent; again and again until the pool stops."""
        state = self._state
        if state.phase not in ("starting", "running"):
            return
        calm = state.options.hard_memory_per_worker_mb is None
        for slot in state.processes():
            if slot.state in ALIVE and slot.pid is not None:
                if slot.asked:
                    self._look_at_silent(slot, now - slot.asked)
                calm = calm and not slot.sent and not slot.asked
                slot.asked = slot.asked or now
                state.effects.append(SendPing(slot.id, slot.life))
        self._look(now)
        interval_s = state.options.heartbeat_interval_ms / 1000
        state.timers.at(now + (_CALM * interval_s if calm else interval_s), self.beat)

    def _look_at_silent(self, slot: Slot, silent_s: float) -> None:
        """Decide over a worker that owes a sign of life."""
        state, options = self._state, self._state.options
        limit_s = options.unresponsive_after_ms / 1000
        if slot.state is SlotState.READY and silent_s > limit_s:
            begun = self._begun(slot)
            details = {"silent_ms": round(silent_s * 1000), "runs": str(begun) if begun else None}
            correlation_id = begun.correlation_id if begun else None
            state.emit(slot.id, "worker_unresponsive", "warn", correlation_id=correlation_id, details=details)
            state.move(slot, Cause.SILENT)
            self._dispatch.close(slot)
        elif slot.state is SlotState.DEGRADED and not slot.replacing:
            if slot.installing:  # that may take so long by itself
                limit_s = max(limit_s, options.control_timeout_ms / 1000)
            if silent_s > 2 * limit_s and not self._begun(slot) and self._is_wanted(slot):
                self._replace(slot, f"it gave no sign of life for {silent_s:.1f} s, and ran nothing")

    def _begun(self, slot: Slot) -> Call | None:
        return next((call for call in slot.sent.values() if self._state.has_begun(slot, call)), None)

    def _is_wanted(self, slot: Slot) -> bool:
        """Whether a call waits that this worker could run."""
        waits_for_it = any(not call.ended for call in (*slot.sent.values(), *slot.pinned))
        return waits_for_it or (self._state.serves(slot) and self._dispatch.unpinned() > 0)

    def heard(self, slot: Slot, now: float) -> None:
        """Note a sign of life."""
        slot.asked = 0.0
        if slot.state is SlotState.DEGRADED:
            self._state.move(slot, Cause.ANSWERS)
            self._dispatch.room_at(slot, now)
