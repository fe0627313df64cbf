"""Heartbeats: every worker is pinged at intervals, and one that does not reply gets no calls.

A process does not reply if it is stopped, or if its C code does not release the GIL. If it runs a call, it is
left to the call's timeout: whether to kill it is not ours to decide. If it runs nothing, it is replaced as
soon as a call waits that it could run.
"""

from __future__ import annotations

from collections.abc import Callable

from .calls import Call
from .dispatcher import Dispatcher
from .effects import SendPing
from .lifecycle import ALIVE, SlotState, Trigger
from .slots import Slot
from .state import State

__all__ = ["Heartbeat"]


_IDLE_FACTOR = 4
"""The interval is this many times as long while no worker is busy: an idle pool costs next to nothing."""


class Heartbeat:
    """Pings the workers while the pool runs.

    Parameters
    ----------
    state : State
        The shared state of the core.
    dispatcher : Dispatcher
        Notified of slots that stop replying, or reply again.
    replace : callable
        Given a slot and a reason, kills its process and starts another.
    on_beat : callable
        Called with the time at every heartbeat.
    """

    def __init__(
        self,
        state: State,
        dispatcher: Dispatcher,
        replace: Callable[[Slot, str], None],
        on_beat: Callable[[float], None],
    ) -> None:
        self._state = state
        self._dispatcher = dispatcher
        self._replace = replace
        self._on_beat = on_beat

    def beat(self, now: float) -> None:
        """Ping every worker, and check those that have not replied; repeat until the pool stops."""
        state = self._state
        if state.phase not in ("starting", "running"):
            return
        is_idle = state.options.hard_memory_per_worker_mb is None
        for slot in state.processes():
            if slot.state in ALIVE and slot.pid is not None:
                if slot.pinged_at:
                    self._check_silent(slot, now - slot.pinged_at - state.pauses.since(slot.pinged_at))
                is_idle = is_idle and not slot.sent and not slot.pinged_at
                slot.pinged_at = slot.pinged_at or now
                state.effects.append(SendPing(slot.id, slot.incarnation))
        self._on_beat(now)
        interval_s = state.options.heartbeat_interval_ms / 1000
        state.timers.call_at(now + (_IDLE_FACTOR * interval_s if is_idle else interval_s), self.beat)

    def _check_silent(self, slot: Slot, silent_s: float) -> None:
        """Degrade or replace a worker that has not replied for too long."""
        state, options = self._state, self._state.options
        limit_s = options.unresponsive_after_ms / 1000
        if slot.state is SlotState.READY and silent_s > limit_s:
            begun = self._begun(slot)
            details = {"silent_ms": round(silent_s * 1000), "runs": str(begun) if begun else None}
            correlation_id = begun.correlation_id if begun else None
            state.emit(slot.id, "worker_unresponsive", "warn", correlation_id=correlation_id, details=details)
            state.transition(slot, Trigger.SILENT)
            self._dispatcher.update_load(slot)
        elif slot.state is SlotState.DEGRADED and not slot.replace_reason:
            if slot.installing:  # an installation may take that long
                limit_s = max(limit_s, options.control_timeout_ms / 1000)
            if silent_s > 2 * limit_s and not self._begun(slot) and self._is_needed(slot):
                self._replace(slot, f"it gave no sign of life for {silent_s:.1f} s, and ran nothing")

    def _begun(self, slot: Slot) -> Call | None:
        return next((call for call in slot.sent.values() if self._state.has_begun(slot, call)), None)

    def _is_needed(self, slot: Slot) -> bool:
        """Whether a call waits that this worker could run."""
        waits_for_it = any(not call.ended for call in (*slot.sent.values(), *slot.pinned))
        return waits_for_it or (self._state.is_serving(slot) and self._dispatcher.queued.unpinned() > 0)

    def pong_received(self, slot: Slot, now: float) -> None:
        """Record a ping reply, or any other message that proves that a worker is alive."""
        slot.pinged_at = 0.0
        if slot.state is SlotState.DEGRADED:
            self._state.transition(slot, Trigger.ANSWERS)
            self._dispatcher.refill(slot, now)
