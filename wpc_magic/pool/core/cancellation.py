"""Cancellation of calls that were sent: the worker is interrupted, and killed if that takes too long."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..options import shown_name
from .calls import Call
from .effects import SendInterrupt
from .slots import Slot
from .state import State

__all__ = ["Cancellation"]


class Cancellation:
    """Stops the work of calls that have ended.

    Parameters
    ----------
    state : State
        The shared state of the core.
    update_load : callable
        Given a slot, updates whether calls may be sent to it.
    replace : callable
        Given a slot and a reason, kills its process and starts another.
    """

    def __init__(
        self, state: State, update_load: Callable[[Slot], None], replace: Callable[[Slot, str], None]
    ) -> None:
        self._state = state
        self._update_load = update_load
        self._replace = replace

    def stop(self, slot: Slot, call: Call, now: float) -> None:
        """Stop a call that a worker holds and whose future has an outcome already.

        If it has not begun, it is revoked; the worker is sent both requests, because it may begin right now.
        """
        state = self._state
        record = call.record
        if record is not None and state.has_begun(slot, call):
            if record.is_async:
                slot.cancelling.add(call.seq)  # a call that begins meanwhile would be killed with the worker
            else:
                slot.full = True  # the calls behind it do not wait for its end: they run elsewhere
            self._update_load(slot)
            behind = [
                seq
                for seq, other in slot.sent.items()
                if seq > call.seq and not other.ended and not state.has_begun(slot, other)
            ]
            if behind:
                state.revoke(slot, behind)
        state.revoke(slot, [call.seq])
        state.effects.append(SendInterrupt(slot.id, slot.incarnation, call.seq))
        self._schedule_kill(slot, slot.incarnation, call, now)

    def tainted(self, slot: Slot, seq: int, what: str) -> None:
        """Replace a worker whose state may be corrupt, because the interrupt of this call broke something."""
        self._kill(slot, slot.sent.get(seq), what, {"reason": what})

    def _kill(self, slot: Slot, call: Call | None, why: str, details: Mapping[str, Any]) -> None:
        """Kill the worker of a call, and report it; None: the pool does not know the call."""
        name, number = (None, None) if call is None else (shown_name(call.name), call.correlation_id)
        details = {"function": name, **details}
        self._state.emit(slot.id, "call_ended_by_force", "warn", correlation_id=number, details=details)
        self._replace(slot, why)

    def _is_blocked(self, slot: Slot, call: Call) -> bool:
        """Whether a coroutine cannot end, because a call that was not stopped occupies the main thread."""
        return _is_async(call) and any(
            not other.ended and not _is_async(other) and self._state.has_begun(slot, other)
            for other in slot.sent.values()
        )

    def _schedule_kill(self, slot: Slot, incarnation: int, call: Call, now: float) -> None:
        grace_ms = self._state.options.interrupt_grace_ms

        def check(now: float) -> None:
            if slot.incarnation == incarnation and slot.sent.get(call.seq) is call:
                if self._state.has_begun(slot, call) and not self._is_blocked(slot, call):
                    why = f"{call} was to end, and did not within interrupt_grace_ms={grace_ms}"
                    self._kill(slot, call, why, {"interrupt_grace_ms": grace_ms})
                else:  # the worker has not come to revoking or ending it yet: another call blocks it
                    self._schedule_kill(slot, incarnation, call, now)

        self._state.timers.call_at(now + grace_ms / 1000, check)


def _is_async(call: Call) -> bool:
    return call.record is not None and call.record.is_async
