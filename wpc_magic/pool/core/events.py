"""The events that listeners receive, and the ring buffer that keeps the latest for late subscribers."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Mapping
from typing import Any, Literal

__all__ = ["ErrorInfo", "EventRing", "Severity", "WorkerEvent"]

Severity = Literal["info", "warn", "error"]


@dataclasses.dataclass(frozen=True, slots=True)
class ErrorInfo:
    """An error, as text.

    Parameters
    ----------
    name : str
        The class of the error.
    message : str
        Its message.
    stack : str or None
        The traceback.
    """

    name: str
    message: str
    stack: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class WorkerEvent:
    """Something that happened to a worker, or in it.

    Parameters
    ----------
    event_id : str
        Unique in this pool, and increasing: ``"event-000001"``.
    worker_id : int
        The slot; 0 for the pool as a whole.
    source : {"worker", "parent"}
        Which side noticed.
    event_name : str
        What happened: ``"worker_spawned"``.
    severity : {"info", "warn", "error"}
        How bad it is.
    timestamp : str
        When it happened, in UTC, as ISO 8601.
    correlation_id : str or None
        The call that it belongs to: ``"call-12"``.
    error : ErrorInfo or None
        The error behind it.
    details : mapping
        Further data; JSON-serializable.
    """

    event_id: str
    worker_id: int
    source: Literal["worker", "parent"]
    event_name: str
    severity: Severity
    timestamp: str
    correlation_id: str | None = None
    error: ErrorInfo | None = None
    details: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return the event as JSON-serializable data, without empty fields."""
        plain = dataclasses.asdict(self)
        return {key: value for key, value in plain.items() if value is not None and value != {}}


class EventRing:
    """The latest events, at most `size` of them, oldest first.

    Examples
    --------
    >>> ring = EventRing(2)
    >>> for n in range(3):
    ...     ring.append(WorkerEvent(f"event-{n}", 1, "parent", "worker_spawned", "info", "now"))
    >>> [event.event_id for event in ring.latest()]
    ['event-1', 'event-2']
    """

    def __init__(self, size: int) -> None:
        self._events: deque[WorkerEvent] = deque(maxlen=size)
        self.total = 0

    def append(self, event: WorkerEvent) -> None:
        """Add an event, and drop the oldest if the ring is full."""
        self._events.append(event)
        self.total += 1

    def resize(self, size: int) -> None:
        """Keep at most `size` events from now on."""
        if size != self._events.maxlen:
            self._events = deque(self._events, maxlen=size)

    def latest(self) -> list[WorkerEvent]:
        """Return the kept events, oldest first."""
        return list(self._events)
