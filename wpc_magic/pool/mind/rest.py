"""Workers that have had nothing to do for long go; the next call that needs one brings it back."""

from __future__ import annotations

from collections.abc import Callable

from .dispatch import Dispatch
from .lifecycle import LOST, Cause, SlotState
from .overlap import Overlap
from .slots import Slot
from .state import State

__all__ = ["Rest"]

_COMING = frozenset({SlotState.STARTING, SlotState.RESTARTING})
_NOT_AWAKE = LOST | {SlotState.RESTING}


class Rest:
    """Has slots rest, and wakes them.

    A slot that rests stays: it has its number, and what it counts. Only its process is gone.

    Parameters
    ----------
    state : State
        What the parts of the core share.
    dispatch : Dispatch
        What waits.
    overlap : Overlap
        How a process leaves.
    spawn : callable
        Given a slot, has a process started for it.
    """

    def __init__(
        self, state: State, dispatch: Dispatch, overlap: Overlap, spawn: Callable[[Slot], None]
    ) -> None:
        self._state = state
        self._dispatch = dispatch
        self._overlap = overlap
        self._spawn = spawn

    def look(self, now: float) -> None:
        """Have those rest that have been idle for long, from the highest number down; or wake some.

        Fewer than are to be ready at least are left where that was changed, or another has failed for good.
        """
        state = self._state
        if state.resting:
            awake = sum(slot.state not in _NOT_AWAKE and not slot.retired for slot in state.slots.values())
            for number in sorted(state.resting)[: max(0, state.options.min_workers - awake)]:
                self._wake(state.slots[number])
        idle_ms = state.options.idle_timeout_ms
        if idle_ms is None or state.phase != "running":
            return
        ready = [slot for _, slot in sorted(state.slots.items()) if self._is_ready(slot)]
        more = len(ready) - state.options.min_workers
        for slot in reversed(ready):
            if slot.sent or slot.next_seq != slot.seen_seq or not slot.idle_since:
                slot.seen_seq, slot.idle_since = slot.next_seq, now
            elif now - slot.idle_since >= idle_ms / 1000 and more > 0 and self._is_free(slot):
                more -= 1
                self._rest(slot, now)

    def _is_ready(self, slot: Slot) -> bool:
        return slot.state is SlotState.READY and not slot.drains and not slot.replacing

    def _is_free(self, slot: Slot) -> bool:
        """Whether nothing is to happen there: no definition is being installed, no other process comes."""
        return not slot.installing and slot.id not in self._state.incoming and not slot.pinned

    def _rest(self, slot: Slot, now: float) -> None:
        state = self._state
        state.emit(slot.id, "worker_rests", details={"idle_ms": round((now - slot.idle_since) * 1000)})
        new = Slot(slot.id)
        self._overlap.replace_by(new, slot, "it had nothing to do for idle_timeout_ms", now)
        state.move(new, Cause.RESTS)
        state.resting.add(new.id)

    def wake(self) -> None:
        """Bring back those that calls wait for: as many as calls are queued, while there are any."""
        state = self._state
        resting = [state.slots[number] for number in sorted(state.resting)]
        coming = sum(slot.state in _COMING and not slot.restart_at for slot in state.slots.values())
        missing = self._dispatch.unpinned() - coming
        for slot in resting:
            if any(not call.ended for call in slot.pinned):
                self._wake(slot)
        for slot in resting[: max(0, missing)]:
            self._wake(slot)

    def _wake(self, slot: Slot) -> None:
        state = self._state
        if slot.id in state.resting and state.phase == "running":
            state.resting.discard(slot.id)
            state.emit(slot.id, "worker_wakes")
            state.move(slot, Cause.WAKES)
            self._spawn(slot)
