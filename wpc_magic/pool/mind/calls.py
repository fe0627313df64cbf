"""One request to run a function, as the mind keeps it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..options import CallOptions

if TYPE_CHECKING:
    from .registry import Record
    from .slots import Slot

__all__ = ["NO_OPTIONS", "Call"]

NO_OPTIONS = CallOptions()
"""What a call has that was made without options of its own."""


class Call:
    """A call from its making to its end.

    Attributes
    ----------
    id : int
        Its number in this pool, from 1.
    name : str
        The function's name; which revision runs is decided when the call is sent.
    items : int
        0 for one call; else it is a chunk of a map, of so many calls.
    body, buffers : object
        The encoded arguments; opaque here, kept until the call has ended since it may have to be sent again.
    block : object
        The shared memory that its buffers are in; opaque here.
    options : CallOptions
        How it is made, where that differs from what its function and the pool say.
    future : object
        What the caller holds; opaque here.
    origin : object
        Where text that it prints belongs; opaque here.
    record : Record or None
        The revision that it was sent with last.
    slot : Slot or None
        Who has it now; None while it is queued, and after its end.
    seq : int
        Its number among the calls of that worker.
    epoch : int
        The epoch that it was sent with.
    began_s : float
        When its function's first instruction ran, where the worker has told so; else 0.
    crashes : int
        How many workers have died under it.
    ended : bool
        Whether its outcome is known.
    expired : Exception or None
        With what it ends if a worker gives it up: it has waited too long.
    """

    __slots__ = (
        "began_s",
        "block",
        "body",
        "buffers",
        "crashes",
        "ended",
        "epoch",
        "expired",
        "future",
        "id",
        "items",
        "name",
        "options",
        "origin",
        "record",
        "seq",
        "slot",
    )

    def __init__(
        self,
        id: int,
        name: str,
        body: Any,
        buffers: Sequence[Any] = (),
        *,
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
        self.slot: Slot | None = None
        self.seq = 0
        self.epoch = 0
        self.began_s = 0.0
        self.crashes = 0
        self.ended = False
        self.expired: Exception | None = None

    def __repr__(self) -> str:
        return f"<call {self}>"

    def __str__(self) -> str:
        return f"{self.name} #{self.id}"

    @property
    def retries(self) -> int:
        """How many times it may run again after its worker has died under it."""
        own = self.options.retries
        if own is None and self.record is not None:
            own = self.record.options.retries
        return own or 0

    @property
    def correlation_id(self) -> str:
        """What events call it."""
        return f"call-{self.id}"
