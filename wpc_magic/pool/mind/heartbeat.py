"""Signs of life: every worker is asked for one now and then, and one that is silent gets no calls."""

from __future__ import annotations

from collections.abc import Callable

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
    look : callable
        Called with the time at every beat.
    """

    def __init__(self, state: State, dispatch: Dispatch, look: Callable[[float], None]) -> None:
        self._state = state
        self._dispatch = dispatch
        self._look = look

    def beat(self, now: float) -> None:
        """Ask every worker, and note who has been silent; again and again until the pool stops."""
        state = self._state
        if state.phase not in ("starting", "running"):
            return
        silent_before = now - state.options.unresponsive_after_ms / 1000
        calm = state.options.hard_memory_per_worker_mb is None
        for slot in state.processes():
            if slot.state in ALIVE and slot.pid is not None:
                if slot.state is SlotState.READY and slot.asked and slot.asked < silent_before:
                    state.move(slot, Cause.SILENT)
                    self._dispatch.close(slot)
                calm = calm and not slot.sent and not slot.asked
                slot.asked = slot.asked or now
                state.effects.append(SendPing(slot.id, slot.life))
        self._look(now)
        interval_s = state.options.heartbeat_interval_ms / 1000
        state.timers.at(now + (_CALM * interval_s if calm else interval_s), self.beat)

    def heard(self, slot: Slot, now: float) -> None:
        """Note a sign of life."""
        slot.asked = 0.0
        if slot.state is SlotState.DEGRADED:
            self._state.move(slot, Cause.ANSWERS)
            self._dispatch.room_at(slot, now)
