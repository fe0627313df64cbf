"""Calls that were sent ahead are taken back from a worker that stands still while another one idles."""

from __future__ import annotations

from collections.abc import Callable

from .slots import Slot
from .state import State

__all__ = ["Stuck"]

_STUCK_S = 0.003
"""A worker that has made no step for so long while another one idles has its waiting calls taken back."""


class Stuck:
    """Looks for workers that stand still, while there is anybody who could help.

    Parameters
    ----------
    state : State
        What the parts of the core share.
    idles : callable
        Given a slot, whether it would take a plain call at once.
    close : callable
        Given a slot that is full now, gives it no more calls.
    """

    def __init__(self, state: State, idles: Callable[[Slot], bool], close: Callable[[Slot], None]) -> None:
        self._state = state
        self._idles = idles
        self._close = close
        self._looking = False

    def forget(self) -> None:
        """Begin anew: the timers are gone."""
        self._looking = False

    def watch(self, now: float) -> None:
        """Plan a look at who stands still on one call while others wait behind it."""
        if not self._looking:
            self._looking = True
            state = self._state
            at = {s.life: state.running(s.life)[0] for s in state.processes() if s.ahead}
            state.timers.at(now + _STUCK_S, lambda now: self._look(at, now))

    def _look(self, at: dict[int, int], now: float) -> None:
        self._looking = False
        if not any(self._idles(slot) for slot in self._state.slots.values()):
            return  # the next that has nothing to do has us look again
        again = False
        for slot in self._state.processes():
            if slot.ahead:
                seq = self._state.running(slot.life)[0]
                behind = self._behind(slot, seq)
                if behind and at.get(slot.life) == seq:
                    slot.full = True
                    slot.asked_back = behind[-1]
                    self._close(slot)
                    self._state.revoke(slot, behind)
                elif behind:
                    again = True
        if again:
            self.watch(now)

    def _behind(self, slot: Slot, seq: int) -> list[int]:
        """Return the calls that wait there, could run elsewhere, and were not asked back before."""
        after = max(seq, slot.asked_back)
        return [
            number
            for number, call in slot.sent.items()
            if number > after and not call.ended and call.options.worker_id is None
        ]
