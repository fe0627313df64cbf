"""Retries: calls whose worker died while running them, or that raised what they are retried on.

They run again after a delay. What killed a worker may disappear after a while (lack of memory, a file, a
server), as may what a function could not reach; it seldom does at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from .backoff import backoff_s
from .calls import Call
from .events import ErrorInfo
from .state import State

__all__ = ["Raised", "Retries", "is_among", "is_retried"]


class Raised(NamedTuple):
    """What a function has raised.

    Parameters
    ----------
    kinds : tuple of str
        The names of the error's class, and of the classes that it inherits from.
    info : ErrorInfo
        What events say about it.
    """

    kinds: tuple[str, ...]
    info: ErrorInfo


def is_among(kinds: Iterable[str], names: Sequence[str]) -> bool:
    """Whether one of the names of an error is that of one of these classes, with its module or without.

    Examples
    --------
    >>> kinds = ("http.client.RemoteDisconnected", "ConnectionError", "OSError")
    >>> [is_among(kinds, [name]) for name in ("OSError", "RemoteDisconnected", "Disconnected", "KeyError")]
    [True, True, False, False]
    """
    return any(kind == name or kind.endswith(f".{name}") for kind in kinds for name in names)


def is_retried(call: Call, raised: Raised) -> bool:
    """Whether a call runs again for what it has raised; of a stream, items may have been taken already."""
    return not call.is_stream and call.attempts < call.retries and is_among(raised.kinds, call.retry_on)


class Retries:
    """The calls that wait for a retry.

    Parameters
    ----------
    state : State
        The shared state of the core.
    requeue : callable
        Given a call and the time, queues it.

    Attributes
    ----------
    calls : dict of Call
        By number. Whoever ends one of them removes it.
    """

    def __init__(self, state: State, requeue: Callable[[Call, float], None]) -> None:
        self._state = state
        self._requeue = requeue
        self.calls: dict[int, Call] = {}

    def wait(self, call: Call, now: float, raised: Raised | None = None) -> None:
        """Hold a call back until it may run again; `raised` is why, None: its worker has died."""
        state = self._state
        delay = backoff_s(call.attempts, state.options, state.random())
        details = {
            **state.call_details(call),
            "attempt": call.attempts + 1,
            "delay_ms": round(delay * 1000),
        }
        error = None if raised is None else raised.info
        number = call.correlation_id
        state.emit(0, "call_retry_scheduled", "warn", correlation_id=number, error=error, details=details)
        self.calls[call.id] = call
        state.timers.call_at(now + delay, lambda now: self._due(call, now))

    def _due(self, call: Call, now: float) -> None:
        if self.calls.pop(call.id, None) is not None:
            self._requeue(call, now)
