"""Calls whose worker has died under them and that may run again: each waits for a while first.

What has brought a worker down may be gone a moment later (memory, a file, a server); at once it seldom is.
"""

from __future__ import annotations

from collections.abc import Callable

from .calls import Call
from .restart import backoff_s
from .state import State

__all__ = ["Retries"]


class Retries:
    """The calls that wait until they run again.

    Parameters
    ----------
    state : State
        What the parts of the core share.
    again : callable
        Given a call and the time, queues it.

    Attributes
    ----------
    calls : dict of Call
        By number. Who ends one of them takes it out.
    """

    def __init__(self, state: State, again: Callable[[Call, float], None]) -> None:
        self._state = state
        self._again = again
        self.calls: dict[int, Call] = {}

    def wait(self, call: Call, now: float) -> None:
        """Keep a call until it may run again."""
        state = self._state
        delay = backoff_s(call.crashes, state.options, state.dice())
        details = {"function": call.name, "attempt": call.crashes + 1, "delay_ms": round(delay * 1000)}
        state.emit(0, "call_retry_scheduled", "warn", correlation_id=call.correlation_id, details=details)
        self.calls[call.id] = call
        state.timers.at(now + delay, lambda now: self._over(call, now))

    def _over(self, call: Call, now: float) -> None:
        if self.calls.pop(call.id, None) is not None:
            self._again(call, now)
