"""What the core requests; the driver executes the effects in order."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..errors import CallTimeoutError
from .calls import Call
from .dependent_calls import DependentCall
from .events import WorkerEvent
from .registry import Change

__all__ = [
    "AllStopped",
    "Effect",
    "Finish",
    "FinishWithStack",
    "Inherit",
    "Kill",
    "LeaveBehind",
    "LetGo",
    "MeasureMemory",
    "Notify",
    "SendActivate",
    "SendForget",
    "SendInstall",
    "SendInterrupt",
    "SendPing",
    "SendRevoke",
    "SendShutdown",
    "Spawn",
]


class Spawn(NamedTuple):
    """Start a process for a slot."""

    slot: int
    incarnation: int


class Kill(NamedTuple):
    """Kill a slot's process, and the processes that it has started."""

    slot: int
    incarnation: int


class LeaveBehind(NamedTuple):
    """Go on without a process that was killed, and does not exit; it is reaped when it does."""

    slot: int
    incarnation: int


class SendInstall(NamedTuple):
    """Send definitions."""

    slot: int
    incarnation: int
    change: Change


class SendForget(NamedTuple):
    """Discard the definitions of an aborted rollout."""

    slot: int
    incarnation: int
    epoch: int


class SendActivate(NamedTuple):
    """Switch to the definitions in force now, and not with the next call: resources are to be closed."""

    slot: int
    incarnation: int
    epoch: int


class SendNumber(NamedTuple):
    """Tell a process that was a spare which slot it fills now; it answers, unless the epoch is 0."""

    slot: int
    incarnation: int
    epoch: int


class SendRevoke(NamedTuple):
    """Revoke calls that have not begun."""

    slot: int
    incarnation: int
    seqs: tuple[int, ...]


class SendInterrupt(NamedTuple):
    """Interrupt a call that a worker runs."""

    slot: int
    incarnation: int
    seq: int


class SendPing(NamedTuple):
    """Ping a worker."""

    slot: int
    incarnation: int


class MeasureMemory(NamedTuple):
    """Measure the private memory of a process, and report it to the core."""

    slot: int
    incarnation: int


class SendShutdown(NamedTuple):
    """Ask a process to shut down, after its call has ended or, with `interrupt`, by interrupting it."""

    slot: int
    incarnation: int
    interrupt: bool


class Finish(NamedTuple):
    """End a call without a value; `error` is None if it was cancelled."""

    call: Call
    error: BaseException | None


class Inherit(NamedTuple):
    """End a call with what another one has ended with, which it waited for."""

    call: Call
    answer: Any


class LetGo(NamedTuple):
    """Let go of the calls that a call waited for, which has ended; `cancels`: and cancel them.

    Those that somebody else has go on.
    """

    call: DependentCall
    cancels: bool


class FinishWithStack(NamedTuple):
    """End a running call, as soon as its worker's stack is in the error; without it, if none arrives.

    For the core, the call has ended. Later effects are sent to the worker only after the stack was taken.
    """

    slot: int
    incarnation: int
    call: Call
    error: CallTimeoutError


class Notify(NamedTuple):
    """Notify listeners of an event."""

    event: WorkerEvent


class AllStopped(NamedTuple):
    """The last process has exited; release all resources."""


Effect = (
    Spawn
    | Kill
    | LeaveBehind
    | SendInstall
    | SendForget
    | SendActivate
    | SendNumber
    | SendRevoke
    | SendInterrupt
    | SendPing
    | SendShutdown
    | MeasureMemory
    | Finish
    | FinishWithStack
    | Inherit
    | LetGo
    | Notify
    | AllStopped
)
