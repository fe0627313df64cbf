"""Work stealing: prefetched calls are revoked from a stalled worker while another one is idle."""

from __future__ import annotations

from collections.abc import Callable

from .slots import Slot
from .state import State

__all__ = ["WorkStealing"]

_STALLED_S = 0.003
"""Prefetched calls are revoked from a worker that makes no progress for this long while another is idle."""


_MAX_REMEMBERED = 1_000  # calls


class WorkStealing:
    """Revokes calls from stalled workers, so that idle ones can run them.

    A worker may also have begun nothing, since its next call is large and still on its way. That call is
    revoked once, as the worker may stand still. Where it is sent next it stays: else calls that take longer
    to travel than a check would go to and fro for ever, each time behind the frames of all times before.

    Parameters
    ----------
    state : State
        The shared state of the core.
    is_idle : callable
        Given a slot, whether it would run a synchronous call at once.
    update_load : callable
        Given a slot, updates whether calls may be sent to it.
    """

    def __init__(
        self, state: State, is_idle: Callable[[Slot], bool], update_load: Callable[[Slot], None]
    ) -> None:
        self._state = state
        self._is_idle = is_idle
        self._update_load = update_load
        self._scheduled = False
        self._moved: set[int] = set()  # the numbers of calls that were revoked on their way

    def reset(self) -> None:
        """Start over: the timers have been cleared."""
        self._scheduled = False
        self._moved.clear()

    def schedule_check(self, now: float) -> None:
        """Schedule a check for workers that are stalled on one call while others wait behind it."""
        if not self._scheduled:
            self._scheduled = True
            state = self._state
            at = {
                s.incarnation: state.running(s.incarnation)[0] for s in state.processes() if s.has_prefetched
            }
            state.timers.call_at(now + _STALLED_S, lambda now: self._check(at, now))

    def _check(self, at: dict[int, int], now: float) -> None:
        self._scheduled = False
        if not any(self._is_idle(slot) for slot in self._state.slots.values()):
            return  # the next worker that becomes idle schedules another check
        again = False
        for slot in self._state.processes():
            if slot.has_prefetched:
                seq = self._state.running(slot.incarnation)[0]
                behind = self._stealable(slot, seq)
                if behind and at.get(slot.incarnation) == seq:
                    self._note_moved(slot, behind[0])
                    slot.full = True
                    slot.revoked_up_to = behind[-1]
                    self._update_load(slot)
                    self._state.revoke(slot, behind)
                elif behind:
                    again = True
        if again:
            self.schedule_check(now)

    def _stealable(self, slot: Slot, seq: int) -> list[int]:
        """Return the calls that wait there, could run elsewhere, and were not revoked before."""
        after = max(seq, slot.revoked_up_to)
        first = next(iter(slot.sent), 0)
        if first > after and slot.sent[first].id in self._moved:
            after = first
        return [
            number
            for number, call in slot.sent.items()
            if number > after and not call.ended and call.options.worker_id is None
        ]

    def _note_moved(self, slot: Slot, number: int) -> None:
        """Note a call that is revoked, if nothing runs before it."""
        if number == next(iter(slot.sent)):
            if len(self._moved) >= _MAX_REMEMBERED:
                self._moved.clear()  # at worst they are revoked once more
            self._moved.add(slot.sent[number].id)
