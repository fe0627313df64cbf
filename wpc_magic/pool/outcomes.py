"""How the answer of a worker becomes a value, or an exception that is raised here."""

from __future__ import annotations

from typing import Any, Protocol

from .errors import RemoteError
from .interrupts.hold import HeldInterrupts
from .wire import protocol
from .wire.codec import decode
from .worker.failure import rebuild_exception

__all__ = ["FailedCall", "decoded_error", "decoded_value", "rebuild_outcome"]


class FailedCall(Protocol):
    """What is known of a call that has failed; its text is the call with its arguments."""

    def add_to(self, error: BaseException) -> BaseException:
        """Add what is known to its error, besides that text, and return it."""


def rebuild_outcome(failure: protocol.Failure, note: str, raises_exits: bool) -> BaseException:
    """Return what a function has raised, as it is raised here, with a note; see `CallFuture.raises_exits`."""
    raised = rebuild_exception(failure)
    try:
        if isinstance(raised, SystemExit) and not raises_exits:
            raised = RemoteError(failure.name, failure.message, failure.stack)
        if failure.note:
            raised.add_note(failure.note)
        raised.add_note(note)
        return raised
    finally:
        del raised  # the frames of its traceback, which were made here, refer to this one, and those around


def decoded_value(call: object, answer: Any) -> tuple[bool, Any]:
    """Return whether the value of an answer can be unpickled, and the value or exception."""
    body, buffers = answer[1], answer[2]
    try:
        return True, decode(body, buffers)
    except (Exception, SystemExit) as error:  # an exit is no reason to decode it again, nor for us to end
        if not _fails_again(body, buffers):
            raise  # a signal handler has raised it
        error.add_note(f"while the value of {call} was unpickled here")
        return False, error


def decoded_error(call: object, failed: FailedCall | None, answer: Any, raises_exits: bool) -> BaseException:
    """Return the exception of an answer; see `CallFuture.raises_exits`."""
    _, body, _, worker, _ = answer
    with HeldInterrupts():  # what a signal handler raises would be taken for the error of its class
        if failed is None:
            return rebuild_outcome(decode(body), f"in {call} on worker {worker}", raises_exits)
        # In no variable: frames of the error have this one behind them.
        return failed.add_to(rebuild_outcome(decode(body), f"in {failed} on worker {worker}", raises_exits))


def _fails_again(body: Any, buffers: Any) -> bool:
    """Return whether a value cannot be unpickled, whatever signals arrive."""
    with HeldInterrupts():
        try:
            decode(body, buffers)
        except (Exception, SystemExit):
            return True
        return False
