"""One request to run a function, as the core stores it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from ..options import CallOptions, shown_name

if TYPE_CHECKING:
    from .registry import Record

__all__ = ["NO_OPTIONS", "Call", "Holder", "WholeChunk", "queued_at"]

NO_OPTIONS = CallOptions()
"""The options of a call that was made without any."""


class Holder(Protocol):
    """What a call knows about the slot that has it; see `slot_of`."""

    id: int
    incarnation: int


class Call:
    """A call, from submission to its end.

    Attributes
    ----------
    id : int
        Its number in this pool, from 1.
    name : str
        The function's name; which revision runs is decided when the call is sent.
    items : int
        0 for a single call; else the number of calls in this chunk of a map.
    body, buffers : object
        The encoded arguments; opaque here, kept until the call ends because it may be sent again.
    block : object
        The shared memory that its buffers are in; opaque here.
    options : CallOptions
        Options that override those of its function and the pool.
    future : object
        The caller's future; opaque here.
    origin : object
        Where its printed output is shown; opaque here.
    record : Record or None
        The revision that it was last sent with.
    slot : Holder or None
        The slot that has it now; None while it is queued, and after its end.
    seq : int
        Its sequence number among the calls of that worker.
    epoch : int
        The epoch that it was sent with.
    began_s : float
        When its function started, in seconds, if the worker has reported it; else 0.
    times : float or (float, float)
        When it was queued, in seconds; and when it was sent, if that was later. Not set before.
    attempts : int
        How many times it has run, and is to run again: its worker died, or it raised what it is retried on.
    ended : bool
        Whether its outcome is known.
    expired : Exception or None
        The error that it ends with if a worker revokes it: its queue timeout has expired.
    keeps_going : bool
        Class attribute: whether a chunk goes on after an item that has failed.
    is_stream : bool
        Class attribute: whether it is a `StreamCall`.
    awaited, links : object
        Of a `DependentCall` only.
    """

    keeps_going: ClassVar[bool] = False
    is_stream: ClassVar[bool] = False

    __slots__ = (
        "attempts",
        "awaited",
        "began_s",
        "block",
        "body",
        "buffers",
        "ended",
        "epoch",
        "expired",
        "future",
        "id",
        "items",
        "links",
        "name",
        "options",
        "origin",
        "record",
        "seq",
        "slot",
        "times",
    )

    def __init__(
        self,
        id: int,
        name: str,
        body: Any,
        buffers: Sequence[Any] = (),
        items: int = 0,
        options: CallOptions = NO_OPTIONS,
        future: Any = None,
        origin: Any = None,
    ) -> None:
        self.id = id
        self.name = name
        self.items = items
        self.body = body
        self.buffers = buffers
        self.block: Any = None
        self.options = options
        self.future = future
        self.origin = origin
        self.record: Record | None = None
        self.slot: Holder | None = None
        self.seq = 0
        self.epoch = 0
        self.began_s = 0.0
        self.attempts = 0
        self.ended = False
        self.expired: Exception | None = None
        self.times: float | tuple[float, float]  # not set here: this runs for every call

    def __repr__(self) -> str:
        return f"<call {self}>"

    def __str__(self) -> str:
        return f"{shown_name(self.name)} #{self.id}"

    @property
    def retries(self) -> int:
        """How many times it may run again after its worker died, or after an error in `retry_on`."""
        own = self.options.retries
        if own is None and self.record is not None:
            own = self.record.options.retries
        return own or 0

    @property
    def retry_on(self) -> Sequence[str]:
        """The names of the errors after which it may run again."""
        own = self.options.retry_on
        if own is None and self.record is not None:
            own = self.record.options.retry_on
        return own or ()

    @property
    def correlation_id(self) -> str:
        """Its identifier in events."""
        return f"call-{self.id}"


def queued_at(call: Call) -> float:
    """Return when a call was queued, in seconds."""
    return call.times[0] if isinstance(call.times, tuple) else call.times


class WholeChunk(Call):
    """A chunk of a map that goes on after an item that has failed."""

    __slots__ = ()
    keeps_going = True
