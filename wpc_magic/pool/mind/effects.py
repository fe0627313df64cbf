"""What the mind wants done; the driver does it, in order."""

from __future__ import annotations

from typing import NamedTuple

from ..errors import CallTimeoutError
from .calls import Call
from .events import WorkerEvent
from .registry import Change

__all__ = [
    "Effect",
    "End",
    "Finish",
    "FinishWithStack",
    "Kill",
    "SendForget",
    "SendInstall",
    "SendInterrupt",
    "SendLeave",
    "SendPing",
    "SendRevoke",
    "Spawn",
    "Tell",
    "Weigh",
]


class Spawn(NamedTuple):
    """Start a process for a slot."""

    slot: int
    life: int


class Kill(NamedTuple):
    """End a slot's process by force, with those that it has started."""

    slot: int
    life: int


class SendInstall(NamedTuple):
    """Send definitions."""

    slot: int
    life: int
    change: Change


class SendForget(NamedTuple):
    """Take definitions back that are not to be used."""

    slot: int
    life: int
    epoch: int


class SendRevoke(NamedTuple):
    """Take calls back, where they have not begun."""

    slot: int
    life: int
    seqs: tuple[int, ...]


class SendInterrupt(NamedTuple):
    """Have a worker end a call that it runs."""

    slot: int
    life: int
    seq: int


class SendPing(NamedTuple):
    """Ask for a sign of life."""

    slot: int
    life: int


class Weigh(NamedTuple):
    """Tell the mind how much memory of its own a process has in use."""

    slot: int
    life: int


class SendLeave(NamedTuple):
    """Ask a process to end: softly if its call may end first, else the call is interrupted."""

    slot: int
    life: int
    interrupt: bool


class Finish(NamedTuple):
    """End a call without a value; None: it was cancelled."""

    call: Call
    error: BaseException | None


class FinishWithStack(NamedTuple):
    """End a call that runs, as soon as its worker's stack is in the error; where none comes, without it.

    For the mind, the call has ended. What the worker is sent after this finds the stack taken.
    """

    slot: int
    life: int
    call: Call
    error: CallTimeoutError


class Tell(NamedTuple):
    """Tell listeners of an event."""

    event: WorkerEvent


class End(NamedTuple):
    """The last process is gone; let go of everything."""


Effect = (
    Spawn
    | Kill
    | SendInstall
    | SendForget
    | SendRevoke
    | SendInterrupt
    | SendPing
    | SendLeave
    | Weigh
    | Finish
    | FinishWithStack
    | Tell
    | End
)
