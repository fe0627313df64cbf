"""Ending the work of a call that has begun: softly first, by force when it takes too long."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .calls import Call
from .effects import SendInterrupt
from .slots import Slot
from .state import State

__all__ = ["Stopping"]


class Stopping:
    """Stops calls.

    Parameters
    ----------
    state : State
        What the parts of the core share.
    close : callable
        Given a slot that is full now, gives it no more calls.
    replace : callable
        Given a slot and a reason, ends its process and has the slot filled again.
    """

    def __init__(
        self, state: State, close: Callable[[Slot], None], replace: Callable[[Slot, str], None]
    ) -> None:
        self._state = state
        self._close = close
        self._replace = replace

    def stop(self, slot: Slot, call: Call, now: float) -> None:
        """Have the work of a call end that its worker holds; its future has an outcome already.

        Where it has not begun, the worker gives it up; it is told both, since it may begin at this moment.
        """
        state = self._state
        record = call.record
        if record is not None and state.has_begun(slot, call):
            if record.is_async:
                slot.ending.add(call.seq)  # what begins meanwhile would end with the worker
            else:
                slot.full = True  # nobody waits for it to end: what is behind it runs elsewhere
            self._close(slot)
            behind = [
                seq
                for seq, other in slot.sent.items()
                if seq > call.seq and not other.ended and not state.has_begun(slot, other)
            ]
            if behind:
                state.revoke(slot, behind)
        state.revoke(slot, [call.seq])
        state.effects.append(SendInterrupt(slot.id, slot.life, call.seq))
        self._force_later(slot, slot.life, call, now)

    def stained(self, slot: Slot, seq: int, what: str) -> None:
        """Replace a worker that may not be trusted any more, since ending this call has torn something."""
        self._end_by_force(slot, slot.sent.get(seq), what, {"reason": what})

    def _end_by_force(self, slot: Slot, call: Call | None, why: str, details: Mapping[str, Any]) -> None:
        """End a call with its worker, and tell; None: a call that the pool knows nothing of."""
        name, number = (None, None) if call is None else (call.name, call.correlation_id)
        details = {"function": name, **details}
        self._state.emit(slot.id, "call_ended_by_force", "warn", correlation_id=number, details=details)
        self._replace(slot, why)

    def _is_held_up(self, slot: Slot, call: Call) -> bool:
        """Whether a coroutine cannot end, since a call that was not stopped has the worker's main thread."""
        return _is_async(call) and any(
            not other.ended and not _is_async(other) and self._state.has_begun(slot, other)
            for other in slot.sent.values()
        )

    def _force_later(self, slot: Slot, life: int, call: Call, now: float) -> None:
        grace_ms = self._state.options.interrupt_grace_ms

        def look(now: float) -> None:
            if slot.life == life and slot.sent.get(call.seq) is call:
                if self._state.has_begun(slot, call) and not self._is_held_up(slot, call):
                    why = f"{call} was to end, and did not within interrupt_grace_ms={grace_ms}"
                    self._end_by_force(slot, call, why, {"interrupt_grace_ms": grace_ms})
                else:  # the worker has not come to giving it up, or to its end; that is another call's doing
                    self._force_later(slot, life, call, now)

        self._state.timers.at(now + grace_ms / 1000, look)


def _is_async(call: Call) -> bool:
    return call.record is not None and call.record.is_async
