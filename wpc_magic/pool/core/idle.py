"""Scaling to zero: workers that are idle for long are stopped, and started when a call needs them."""

from __future__ import annotations

from collections.abc import Callable

from .dispatcher import Dispatcher
from .lifecycle import LOST, SlotState, Trigger
from .replacement import Replacements
from .slots import Slot
from .state import State

__all__ = ["IdleScaling"]

_STARTING_STATES = frozenset({SlotState.STARTING, SlotState.RESTARTING})
_NOT_AWAKE = LOST | {SlotState.RESTING}


class IdleScaling:
    """Stops the processes of idle slots, and wakes these slots.

    A resting slot keeps its number and its counters. Only its process has exited.

    Parameters
    ----------
    state : State
        The shared state of the core.
    dispatcher : Dispatcher
        The queued calls.
    replacements : Replacements
        Lets the process of an idle slot leave.
    spawn : callable
        Given a slot, starts a process for it.
    """

    def __init__(
        self, state: State, dispatcher: Dispatcher, replacements: Replacements, spawn: Callable[[Slot], None]
    ) -> None:
        self._state = state
        self._dispatcher = dispatcher
        self._replacements = replacements
        self._spawn = spawn

    def check(self, now: float) -> None:
        """Stop workers that have been idle for long, from the highest number down; or wake some.

        Fewer than `min_workers` are left if that option was changed, or if another slot has failed.
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
        surplus = len(ready) - state.options.min_workers
        for slot in reversed(ready):
            if slot.sent or slot.next_seq != slot.idle_seq or not slot.idle_since:
                slot.idle_seq, slot.idle_since = slot.next_seq, now
            elif now - slot.idle_since >= idle_ms / 1000 and surplus > 0 and self._is_free(slot):
                surplus -= 1
                self._put_to_rest(slot, now)

    def _is_ready(self, slot: Slot) -> bool:
        return slot.state is SlotState.READY and not slot.draining and not slot.replace_reason

    def _is_free(self, slot: Slot) -> bool:
        """Whether nothing is in progress there: no installation, no replacement, no pinned call."""
        is_awaited = slot.pinned or self._dispatcher.queued.demands.wait_for(slot)
        return not slot.installing and slot.id not in self._state.incoming and not is_awaited

    def _put_to_rest(self, slot: Slot, now: float) -> None:
        state = self._state
        state.emit(slot.id, "worker_rests", details={"idle_ms": round((now - slot.idle_since) * 1000)})
        new = Slot(slot.id)
        self._replacements.replace_by(new, slot, "it had nothing to do for idle_timeout_ms", now)
        state.transition(new, Trigger.RESTS)
        state.resting.add(new.id)

    def wake(self) -> None:
        """Start workers for queued calls: at most one for each call."""
        state = self._state
        resting = [state.slots[number] for number in sorted(state.resting)]
        starting = sum(
            slot.state in _STARTING_STATES and not slot.restart_at for slot in state.slots.values()
        )
        missing = self._dispatcher.queued.unpinned() - starting
        for slot in resting:
            if slot.pinned or self._dispatcher.queued.demands.pinned_to(slot.id):
                self._wake(slot)
        for slot in resting[: max(0, missing)]:
            self._wake(slot)

    def _wake(self, slot: Slot) -> None:
        state = self._state
        if slot.id in state.resting and state.phase == "running":
            state.resting.discard(slot.id)
            state.emit(slot.id, "worker_wakes")
            state.transition(slot, Trigger.WAKES)
            self._spawn(slot)
