"""How long a call may wait before it begins, and how long it may run."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import CallTimeoutError, QueueTimeoutError
from .calls import Call
from .registry import Record
from .slots import Slot
from .state import State

__all__ = ["Limits"]


class Limits:
    """The two time-outs of calls.

    Parameters
    ----------
    state : State
        What the parts of the core share.
    stop : callable
        Given a slot, a call that it runs, and the time, ends the work of that call.
    give_up : callable
        Given a call that is queued, an error, and the time, ends it.
    """

    def __init__(
        self,
        state: State,
        stop: Callable[[Slot, Call, float], None],
        give_up: Callable[[Call, QueueTimeoutError, float], None],
    ) -> None:
        self._state = state
        self._stop_work = stop
        self._give_up = give_up

    # -- before it begins -------------------------------------------------------------------------------

    def on_waiting(self, call: Call, record: Record, now: float) -> None:
        """Have a call end that has not begun in time."""
        wait_ms = call.options.queue_timeout_ms
        if wait_ms is None:
            wait_ms = record.options.queue_timeout_ms
        if wait_ms is None:
            wait_ms = self._state.options.queue_timeout_ms
        if wait_ms is not None:
            error = QueueTimeoutError(f"{call} waited for more than {wait_ms} ms, and did not run")
            self._state.timers.at(now + wait_ms / 1000, lambda now: self._waited(call, error, now), call)

    def _waited(self, call: Call, error: QueueTimeoutError, now: float) -> None:
        slot = call.slot
        if call.ended or call.crashes:  # it began in time, and waits to run again
            return
        if slot is None:
            self._give_up(call, error, now)
        elif not self._state.has_begun(slot, call):
            call.expired = error  # it ends with this once the worker has given it up
            self._state.revoke(slot, [call.seq])

    # -- from its first instruction ---------------------------------------------------------------------

    def on_running(self, call: Call, record: Record, slot: Slot, now: float) -> None:
        """Have a call stopped that runs for too long on the worker that it has just been sent to."""
        timeout_ms = call.options.timeout_ms
        if timeout_ms is None:
            timeout_ms = record.options.timeout_ms
        if timeout_ms is None:
            timeout_ms = self._state.options.call_timeout_ms
        if timeout_ms is not None:
            self._look_after(call, slot, timeout_ms, now + timeout_ms / 1000)

    def _look_after(
        self, call: Call, slot: Slot, timeout_ms: int, due: float, unpickled_since: float = 0.0
    ) -> None:
        life, seq = slot.life, call.seq

        def look(now: float) -> None:
            if slot.life == life and slot.sent.get(seq) is call and not call.ended:
                began = self._began(slot, call)
                # One sum, which comes out the same the next time: a difference may never come down to zero.
                due = (now if began is None else began) + timeout_ms / 1000
                since = 0.0
                if began is None and self._state.has_begun(slot, call):
                    # Its arguments are being unpickled, which may import modules, as an installation may.
                    since = unpickled_since or now
                    due = since + max(timeout_ms, self._state.options.control_timeout_ms) / 1000
                if due > now:  # it waited behind others first
                    self._look_after(call, slot, timeout_ms, due, since)
                else:
                    self._stop(call, slot, timeout_ms, since > 0.0, now)

        self._state.timers.at(due, look, call)

    def _began(self, slot: Slot, call: Call) -> float | None:
        """Return when a call's first instruction ran, in seconds; None if it has not."""
        if call.began_s:
            return call.began_s
        seq, since = self._state.running(slot.life)
        return since if seq == call.seq and since else None

    def _stop(self, call: Call, slot: Slot, timeout_ms: int, unpickles: bool, now: float) -> None:
        details = {"function": call.name, "timeout_ms": timeout_ms}
        self._state.emit(
            slot.id, "call_timed_out", "warn", correlation_id=call.correlation_id, details=details
        )
        slot.failed += 1
        message = f"{call} ran for more than {timeout_ms} ms on worker {slot.id}, and was stopped"
        if unpickles:
            message = f"the arguments of {call} were not unpickled in time on worker {slot.id}"
        # Before the work is stopped: so the worker tells where it was, and not how it cleans up.
        self._state.finish_with_stack(call, slot, CallTimeoutError(message))
        self._stop_work(slot, call, now)
