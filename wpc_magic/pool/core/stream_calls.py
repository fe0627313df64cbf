"""Streams as the core sees them: calls whose items arrive one after another, and which may be paused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import CallTimeoutError
from ..wire.limits import MAX_BUFFER
from .calls import Call
from .registry import Record
from .slots import Slot
from .state import State

__all__ = ["StreamCall", "StreamTimeouts", "doing", "paused_streams"]

_TAKEN_MASK = 0x7FFFFFFF  # as the worker counts what was taken


class StreamCall(Call):
    """A call of a function that yields. The times are in seconds, on the monotonic clock.

    Attributes
    ----------
    received : int
        How many items have arrived.
    credited : int
        How many items its worker knows to be taken.
    item_at : float
        When the last items have arrived; 0: none has.
    paused_at : float
        Since when it is paused, because its caller is behind; 0: it is not.
    resumed_at : float
        When the last pause has ended.
    paused_s : float
        How long it was paused before.
    on_resume : callable or None
        Called with the call and the time when it is not paused any more. It does not refer to the call.
    """

    __slots__ = ("credited", "item_at", "on_resume", "paused_at", "paused_s", "received", "resumed_at")
    is_stream = True

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.received = self.credited = 0
        self.item_at = self.paused_at = self.resumed_at = self.paused_s = 0.0
        self.on_resume: Callable[[StreamCall, float], object] | None = None

    @property
    def retries(self) -> int:
        """How many times it may run again; never after its first item: the caller may have that."""
        return 0 if self.received else super().retries

    @property
    def buffer(self) -> int:
        """How many items it may be ahead of its caller; 0: see `wire.limits`."""
        return min(self.options.buffer or 0, MAX_BUFFER)

    def items_arrived(self, count: int, state: int, now: float) -> None:
        """Note that items have arrived.

        Parameters
        ----------
        count : int
            How many.
        state : int
            0, or 1 more than the number of taken items that the worker knew of when it paused.
        now : float
            In seconds.
        """
        self.received += count
        if count:
            self.item_at = now
        # What was taken meanwhile, it has been told meanwhile.
        if state and state - 1 == self.credited & _TAKEN_MASK and not self.paused_at:
            self.paused_at = now

    def items_taken(self, taken: int, now: float) -> None:
        """Note that its worker is told how many items were taken, and so goes on."""
        self.credited = taken
        if self.paused_at:
            self.paused_s += now - self.paused_at
            self.paused_at, self.resumed_at = 0.0, now
            resume, self.on_resume = self.on_resume, None
            if resume is not None:
                resume(self, now)


def doing(call: Call) -> str:
    """Return what a worker does that has begun a call: ``"simulate #12"``, ``"numbers #3 (paused)"``."""
    return f"{call} (paused)" if isinstance(call, StreamCall) and call.paused_at else str(call)


def paused_streams(calls: list[Call]) -> int:
    """Return how many of these calls wait for their callers."""
    return sum(isinstance(call, StreamCall) and call.paused_at > 0 and not call.ended for call in calls)


class StreamTimeouts:
    """Ends streams that run too long, or without an item. Pauses do not count.

    Parameters
    ----------
    state : State
        The shared state of the core.
    stop : callable
        Given a slot, a call that it runs, and the time, stops the work of that call.
    """

    def __init__(self, state: State, stop: Callable[[Slot, Call, float], None]) -> None:
        self._state = state
        self._stop_work = stop

    def limits_ms(self, call: StreamCall, record: Record) -> tuple[int | None, int | None]:
        """Return how long a stream may run, and how long from item to item, in milliseconds."""
        options, own = call.options, record.options
        whole = own.timeout_ms if options.timeout_ms is None else options.timeout_ms
        each = own.item_timeout_ms if options.item_timeout_ms is None else options.item_timeout_ms
        return self._state.options.call_timeout_ms if whole is None else whole, each

    def check(self, call: StreamCall, slot: Slot, began: float, now: float) -> None:
        """End a stream that has begun, if it is late; otherwise look again when it may be."""
        record = call.record
        if record is None or call.ended:
            return
        if call.paused_at:
            call.on_resume = lambda call, now: self._look_at(call, slot, began, now)
            return
        whole, each = self.limits_ms(call, record)
        dues = []
        if whole is not None:
            dues.append((self._in(whole, began) + call.paused_s, whole, f"ran for more than {whole} ms"))
        if each is not None:
            since = max(began, call.item_at, call.resumed_at)
            dues.append((self._in(each, since), each, f"gave no item for more than {each} ms"))
        due, limit_ms, what = min(dues)
        if due > now:
            self._look_at(call, slot, began, due)
            return
        details = {"function": call.name, "timeout_ms": limit_ms, "items": call.received}
        self._state.emit(
            slot.id, "call_timed_out", "warn", correlation_id=call.correlation_id, details=details
        )
        error = CallTimeoutError(f"{call} {what} on worker {slot.id}, and was stopped")
        self._state.finish_with_stack(call, slot, error)
        self._stop_work(slot, call, now)

    def _look_at(self, call: StreamCall, slot: Slot, began: float, due: float) -> None:
        incarnation, seq = slot.incarnation, call.seq

        def look(now: float) -> None:
            if slot.incarnation == incarnation and slot.sent.get(seq) is call:
                self.check(call, slot, began, now)

        self._state.timers.call_at(due, look, call)

    def _in(self, timeout_ms: int, since: float) -> float:
        """Return when a time has passed in which the pool ran."""
        return since + timeout_ms / 1000 + self._state.pauses.since(since)
