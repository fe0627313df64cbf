"""What a call has ended with, passed on to the calls that wait for it.

Futures are opaque here: they are defined above.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from .outcomes import FailedCall
from .wire import protocol
from .wire.held_value import HeldValue, LentBuffers

__all__ = ["Inherited", "PassedFailure", "Receive", "hand_over", "held_answer", "pass_on"]

_MAX_NAMED = 6  # calls of a chain that an error names


class PassedFailure(NamedTuple):
    """How a call has ended without a value.

    Parameters
    ----------
    answer : object
        A frame, an exception, or None: cancelled.
    failed : FailedCall or None
        What is known of the call that has failed first.
    chain : tuple of str
        The calls from that one on, each of which needed the value of the one before.
    unasked : object
        Tells the error if nobody asks for it.
    traceback : object
        Of an exception, as it was received.
    """

    answer: Any
    failed: FailedCall | None
    chain: tuple[str, ...]
    unasked: Any
    traceback: Any


Receive = Callable[[HeldValue | PassedFailure], object]
"""Takes what a call has ended with."""


class Inherited:
    """What is known of a call that did not run, since one that it waited for has failed: a `FailedCall`.

    Parameters
    ----------
    passed : PassedFailure
        How that has ended.
    call : str
        The call that did not run.
    """

    def __init__(self, passed: PassedFailure, call: str) -> None:
        self.passed = passed
        self.chain = (*passed.chain, call)

    def __str__(self) -> str:
        """Return the call that has failed, since its error is the one that is raised."""
        return self.chain[0] if self.passed.failed is None else str(self.passed.failed)

    def add_to(self, error: BaseException) -> BaseException:
        """Return the error, or a copy of one that others have, with a note that names the calls."""
        if isinstance(self.passed.answer, BaseException):
            error = _copied(error, self.passed.traceback)
        if self.passed.failed is not None:
            error = self.passed.failed.add_to(error)
        error.add_note(self.note)
        return error

    @property
    def note(self) -> str:
        """Which calls did not run, and why.

        Examples
        --------
        >>> Inherited(PassedFailure(None, None, ("a #1", "b #2"), None, None), "c #3").note
        'c #3 did not run: it needed the value of b #2, which needed that of a #1'
        """
        *needed, call = self.chain
        needed.reverse()
        if len(needed) > _MAX_NAMED:
            half, left_out = _MAX_NAMED // 2, len(needed) - _MAX_NAMED
            needed[half:-half] = [f"another ({left_out} in all)"]
        return f"{call} did not run: it needed the value of {', which needed that of '.join(needed)}"


def _copied(error: BaseException, traceback: Any) -> BaseException:
    """Return a copy of an exception, or itself if its class does not bear that."""
    try:
        made = copy.copy(error)
        if type(made) is not type(error) or made is error:
            return error
        made.__cause__, made.__context__ = error.__cause__, error.__context__
        made.__suppress_context__ = error.__suppress_context__
        made.__traceback__ = traceback
        notes = getattr(error, "__notes__", None)
        if notes:
            made.__notes__ = list(notes)
        return made
    except Exception:  # from its own code
        return error
    finally:
        del error


def pass_on(future: Any, receive: Receive, receive_unpickled: Callable[[], object]) -> None:
    """Call `receive` with what a call ends with, as soon as it has: before anyone can unpickle that.

    It must neither block nor run user code: the lock of the call's driver is held, also by who calls this.

    Parameters
    ----------
    future : CallFuture
        The call's future.
    receive : callable
        Takes what it has ended with.
    receive_unpickled : callable
        Called instead if it has ended, and its value may have been unpickled by now.
    """
    if not future.ended:
        future.receive_with(receive)
        return
    answer = future._answer
    if future.known_value()[0]:
        receive_unpickled()
    elif type(answer) is not tuple or answer[0] != protocol.VALUE:
        receive(_failure_of(future, answer))
    else:
        held = future._answer = held_answer(answer)
        # Another thread that unpickles the value just now refers to the answer, and gets memory that it may
        # write to.
        if held is not answer and sys.getrefcount(answer) > _REFERENCES:
            receive_unpickled()
        else:
            receive(_held(held))


def _references() -> int:
    """Return how many references to an object are counted that one variable refers to."""
    answer = [object()]
    return sys.getrefcount(answer)


_REFERENCES = _references()


def hand_over(future: Any, receivers: Iterable[Receive], answer: Any) -> Any:
    """Pass on what a call has ended with; return what its own future is to have. See `pass_on`."""
    passed: HeldValue | PassedFailure
    if type(answer) is tuple and answer[0] == protocol.VALUE:
        answer = held_answer(answer)
        passed = _held(answer)
    else:
        passed = _failure_of(future, answer)
    for receive in receivers:
        receive(passed)
    return answer


def held_answer(answer: Any) -> Any:
    """Return an answer to whose buffers nobody writes: each who unpickles it has memory of its own."""
    kind, body, buffers, *rest = answer
    if isinstance(buffers, LentBuffers):
        buffers.held.body = body
        return answer
    if not buffers:
        return answer
    return kind, body, HeldValue(body, buffers).lent(), *rest


def _held(answer: Any) -> HeldValue:
    buffers = answer[2]
    return buffers.held if isinstance(buffers, LentBuffers) else HeldValue(answer[1], ())


def _failure_of(future: Any, answer: Any) -> PassedFailure:
    failed = future.failed
    chain: tuple[str, ...] = (str(future.call),)
    if isinstance(failed, Inherited):
        chain, failed = failed.chain, failed.passed.failed
    return PassedFailure(answer, failed, chain, future.unasked, future._traceback)
