"""Calls that wait for the values of others, which are among their arguments.

Such a call is accepted as any other, and counts as queued, but no worker holds it. When the last value is
there it is queued in earnest; its queue timeout counts from then. If one of the calls that it waits for ends
without a value, it ends in the same way, at once. A call can only wait for calls that were made before it, so
there are no cycles.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .calls import Call
from .dependent_calls import DependentCall
from .effects import LetGo
from .state import State

__all__ = ["Dependents"]


class Dependents:
    """The calls that wait for others.

    Parameters
    ----------
    state : State
        The shared state of the core.
    queue : callable
        Given a call and the time, queues it: all that it waited for is there.

    Attributes
    ----------
    calls : dict of DependentCall
        By number. Whoever ends one of them removes it.
    """

    def __init__(self, state: State, queue: Callable[[Call, float], None]) -> None:
        self._state = state
        self._queue = queue
        self.calls: dict[int, DependentCall] = {}

    def hold(self, call: DependentCall) -> None:
        """Hold a call back until all that it waits for is there."""
        self.calls[call.id] = call

    def arrived(self, call: DependentCall, number: int) -> bool:
        """Note that one of the values is there that a call waits for; return whether it was the last."""
        call.awaited.pop(number, None)
        return not call.awaited and call.id in self.calls

    def release(self, call: DependentCall, now: float) -> None:
        """Queue a call: its arguments are complete."""
        if self.calls.pop(call.id, None) is not None:
            self._queue(call, now)

    def drop(self, call: Call, cancels: bool) -> None:
        """Forget a call that is ended otherwise, if it waits; see `LetGo`."""
        dropped = self.calls.pop(call.id, None)
        if dropped is not None:
            self._state.effects.append(LetGo(dropped, cancels))

    def inherit(self, call: DependentCall, answer: Any) -> bool:
        """End a call as one has ended that it waited for; return whether it had not ended before.

        Parameters
        ----------
        call : DependentCall
            The call.
        answer : object
            What the other has ended with; opaque here. None: it was cancelled.
        """
        if self.calls.pop(call.id, None) is None:
            return False
        if answer is None:
            self._state.finish(call, None)
        else:
            self._state.inherit(call, answer)
        return True
