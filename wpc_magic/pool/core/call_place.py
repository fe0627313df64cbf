"""Where a call is right now: in the queue, behind others on a worker, or running."""

from __future__ import annotations

from typing import NamedTuple

from ..checks import shown_amounts
from .calls import Call
from .dependent_calls import DependentCall
from .dispatcher import Dispatcher
from .durations import shown_s
from .slots import slot_of
from .state import State

__all__ = ["CallPlace", "place_of", "shown_s"]


class CallPlace(NamedTuple):
    """Where a call is that has not ended.

    Parameters
    ----------
    worker_id : int or None
        The slot that has it; None: it is queued.
    running_s : float or None
        For how long it has run, in seconds; None: it has not begun.
    ahead : int
        How many calls are ahead of it, if it has not begun.
    waits_for : str
        The calls whose values it waits for, or a machine, as text; empty: none.
    """

    worker_id: int | None
    running_s: float | None
    ahead: int
    waits_for: str = ""

    def __str__(self) -> str:
        """Return it as text.

        Examples
        --------
        >>> print(CallPlace(2, 3.4, 0))
        running on worker 2 for 3 s
        >>> print(CallPlace(None, None, 12))
        queued behind 12 calls
        >>> print(CallPlace(None, None, 0, "a #3"))
        waits for a #3
        """
        if self.waits_for:
            return f"waits for {self.waits_for}"
        if self.running_s is not None:
            return f"running on worker {self.worker_id} for {shown_s(self.running_s)}"
        where = "" if self.worker_id is None else f" for worker {self.worker_id}"
        behind = f" behind {self.ahead} call{'s' * (self.ahead != 1)}" if self.ahead else ""
        return f"queued{where}{behind}"


def place_of(call: Call, state: State, dispatcher: Dispatcher, now: float) -> CallPlace:
    """Return where a call is that has not ended."""
    slot = slot_of(call)
    if slot is None:
        if isinstance(call, DependentCall) and call.id in dispatcher.queued.dependents.calls:
            return CallPlace(None, None, 0, call.waits_for)
        if call.options.resources and call in dispatcher.queued.demands.queue_of(call):
            return CallPlace(None, None, 0, f"a machine with {shown_amounts(call.options.resources)} free")
        pinned = state.slots.get(call.options.worker_id or 0)
        queue = list(dispatcher.queued) if pinned is None else list(pinned.pinned)
        ahead = queue.index(call) if call in queue else 0
        return CallPlace(None if pinned is None else pinned.id, None, ahead)
    seq, since = state.running(slot.incarnation)
    if call.began_s or seq >= call.seq:
        began = call.began_s or (since if seq == call.seq else 0)
        return CallPlace(slot.id, max(0.0, now - began) if began else 0.0, 0)
    ahead = sum(number < call.seq and not each.ended for number, each in slot.sent.items())
    return CallPlace(slot.id, None, ahead)
