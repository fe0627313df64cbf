"""Timeouts of calls: how long one may wait before it begins, and how long it may run."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import CallTimeoutError, QueueTimeoutError
from ..options import shown_name
from .calls import Call
from .pauses import PULSE_S
from .registry import Record
from .slots import Slot, slot_of
from .state import State
from .stream_calls import StreamCall, StreamTimeouts

__all__ = ["Timeouts"]


class Timeouts:
    """Ends calls whose queue timeout or call timeout expires.

    Parameters
    ----------
    state : State
        The shared state of the core.
    stop : callable
        Given a slot, a call that it runs, and the time, stops the work of that call.
    expire : callable
        Given a queued call, an error, and the time, ends it.
    has_calls : callable
        Whether any call has not ended.
    """

    def __init__(
        self,
        state: State,
        stop: Callable[[Slot, Call, float], None],
        expire: Callable[[Call, QueueTimeoutError, float], None],
        has_calls: Callable[[], bool],
    ) -> None:
        self._state = state
        self._stop_work = stop
        self._streams = StreamTimeouts(state, stop)
        self._expire = expire
        self._has_calls = has_calls
        self._pulses = False

    def reset(self) -> None:
        """Start over: the timers have been cleared."""
        self._pulses = False

    def _look_at_the_clock(self, now: float) -> None:
        """Have the pool wake up at short intervals: when it is late, it knows that it did not run before."""
        if not self._pulses:
            self._pulses = True
            self._state.timers.call_at(now + PULSE_S, self._pulse)

    def _pulse(self, now: float) -> None:
        self._pulses = False
        if self._has_calls():
            self._look_at_the_clock(now)

    # -- the queue timeout ------------------------------------------------------------------------------

    def start_queue_timeout(self, call: Call, record: Record, now: float) -> None:
        """Schedule the end of a call that does not begin in time."""
        wait_ms = call.options.queue_timeout_ms
        if wait_ms is None:
            wait_ms = record.options.queue_timeout_ms
        if wait_ms is None:
            wait_ms = self._state.options.queue_timeout_ms
        if wait_ms is not None:
            error = QueueTimeoutError(f"{call} waited for more than {wait_ms} ms, and did not run")
            self._look_at_the_clock(now)
            self._state.timers.call_at(
                now + wait_ms / 1000, lambda now: self._queue_timeout_expired(call, error, now), call
            )

    def _queue_timeout_expired(self, call: Call, error: QueueTimeoutError, now: float) -> None:
        slot = slot_of(call)
        if call.ended or call.attempts:  # it began in time, and waits for a retry
            return
        if slot is None:
            self._expire(call, error, now)
        elif not self._state.has_begun(slot, call):
            call.expired = error  # it ends with this once the worker has revoked it
            self._state.revoke(slot, [call.seq])

    # -- the call timeout, from the first instruction ---------------------------------------------------

    def start_call_timeout(self, call: Call, record: Record, slot: Slot, now: float) -> None:
        """Schedule the stop of a call that runs too long on the worker that it has just been sent to."""
        timeout_ms = call.options.timeout_ms
        if isinstance(call, StreamCall):
            limits = [limit for limit in self._streams.limits_ms(call, record) if limit is not None]
            timeout_ms = min(limits, default=None)
        if timeout_ms is None:
            timeout_ms = record.options.timeout_ms
        if timeout_ms is None:
            timeout_ms = self._state.options.call_timeout_ms
        if timeout_ms is not None:
            self._look_at_the_clock(now)
            self._schedule_check(call, slot, timeout_ms, now + timeout_ms / 1000)

    def _schedule_check(
        self, call: Call, slot: Slot, timeout_ms: int, due: float, unpickled_since: float = 0.0
    ) -> None:
        incarnation, seq = slot.incarnation, call.seq

        def check(now: float) -> None:
            if slot.incarnation == incarnation and slot.sent.get(seq) is call and not call.ended:
                began = self._began(slot, call)
                if began is not None and isinstance(call, StreamCall):
                    self._streams.check(call, slot, began, now)
                    return
                # Sums, which have the same result the next time: a difference may never become zero.
                due = self._in(timeout_ms, now if began is None else began)
                since = 0.0
                if began is None and self._state.running(slot.incarnation)[0] == call.seq:
                    # Its arguments are being unpickled, which may import modules, as an installation may.
                    # If a later call has begun, this one was revoked or has ended: that is not read yet.
                    # While it makes a resource, no time passes: that has a limit of its own, or none.
                    since = now if self._state.prepares(slot.incarnation) else unpickled_since or now
                    due = self._in(max(timeout_ms, self._state.options.control_timeout_ms), since)
                if due > now:  # it waited behind others first
                    self._schedule_check(call, slot, timeout_ms, due, since)
                else:
                    self._time_out(call, slot, timeout_ms, since > 0.0, now)

        self._state.timers.call_at(due, check, call)

    def _in(self, timeout_ms: int, began: float) -> float:
        """Return when a time has passed in which the pool ran."""
        return began + timeout_ms / 1000 + self._state.pauses.since(began)

    def _began(self, slot: Slot, call: Call) -> float | None:
        """Return when a call's first instruction ran, in seconds; None if it has not."""
        if call.began_s:
            return call.began_s
        seq, since = self._state.running(slot.incarnation)
        return since if seq == call.seq and since else None

    def _time_out(self, call: Call, slot: Slot, timeout_ms: int, unpickling: bool, now: float) -> None:
        details = {"function": shown_name(call.name), "timeout_ms": timeout_ms}
        self._state.emit(
            slot.id, "call_timed_out", "warn", correlation_id=call.correlation_id, details=details
        )
        message = f"{call} ran for more than {timeout_ms} ms on worker {slot.id}, and was stopped"
        if unpickling:
            message = f"the arguments of {call} were not unpickled in time on worker {slot.id}"
        # Before the work is stopped: so the stack shows where it was, and not how it cleans up.
        self._state.finish_with_stack(call, slot, CallTimeoutError(message))
        self._stop_work(slot, call, now)
