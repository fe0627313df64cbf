"""Calls that are observed from their submission to their end, as by a tracer. Others cost nothing more."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from ..core.calls import Call
from ..errors import RemoteError
from ..futures import CallFuture
from ..interrupts.hold import HeldInterrupts
from ..options import shown_name
from ..wire import protocol
from ..wire.codec import decode
from .link import Link
from .outbox import anonymous_target, call_frame, message_frame

if TYPE_CHECKING:
    from .driver import Driver

__all__ = ["CallEnd", "CallObserver", "observe_calls"]


class CallEnd(NamedTuple):
    """How a call has ended.

    Attributes
    ----------
    outcome : {"done", "failed", "cancelled"}
        Whether there is a value.
    error, message, stack : str
        The class of the error, its text, and the traceback in the worker, where it failed.
    worker_id : int
        The worker that has answered; 0: none has.
    ran_s : float
        How long it ran there, in seconds.
    ended_ns : int
        When it ended, in nanoseconds since the epoch.
    """

    outcome: str
    error: str = ""
    message: str = ""
    stack: str = ""
    worker_id: int = 0
    ran_s: float = 0.0
    ended_ns: int = 0


class CallObserver(Protocol):
    """Observes calls. What it raises is logged, or is raised by the call."""

    def begin(self, name: str, call_id: int, items: int) -> tuple[Any, Mapping[str, str]] | None:
        """Begin a call, in the thread that makes it; None: it is not observed.

        Returns
        -------
        tuple
            What `end` is given, and what travels with the call.
        """

    def end(self, begun: Any, end: CallEnd) -> None:
        """End a call, in a thread of the pool."""


def observe_calls(driver: Driver, observer: CallObserver | None) -> None:
    """Have an observer told of all calls from now on; None: nobody is told."""
    if observer is None:
        driver.use_submit(None)
        driver.parts.outbox.call_frame = call_frame
        return
    submit, state, lock = type(driver).submit, driver.core.state, driver.lock

    def submit_observed(call: Call) -> None:
        if state.phase in ("stopped", "stopping") and not lock.is_owned():
            # Perhaps the workers are started for it, and then it is submitted again: that is when it begins.
            driver.check()
            raise state.not_running()
        name = shown_name(call.name)
        begun = observer.begin(name, call.id, call.items)
        if begun is None:
            submit(driver, call)
            return
        what, carrier = begun
        future: CallFuture = call.future
        is_made = False

        def ended(future: CallFuture) -> None:
            # Under the lock: what the observer does may take long.
            driver.call_soon(_end, observer, what, future.raw_answer, time.time_ns())

        try:
            with HeldInterrupts():  # it is observed to its end, or is not made
                future.trace = protocol.Trace(name, dict(carrier))
                submit(driver, call)
                is_made = True
                future.when_ended(ended)
        except BaseException as error:
            if not is_made:
                observer.end(what, _refused(error))
            raise

    driver.use_submit(submit_observed)
    driver.parts.outbox.call_frame = _traced_frame


def _traced_frame(link: Link, call: Call) -> list[Any]:
    trace = call.future.trace
    if trace is None:
        return call_frame(link, call)
    record = call.record
    assert record is not None
    target, before = record.key, message_frame(trace)
    if not record.revision:
        target, held = anonymous_target(link, record)
        before = [*before, *held]
    return [*before, *call_frame(link, call, target | protocol.TRACED)]


def _end(observer: CallObserver, what: Any, answer: Any, ended_ns: int) -> None:
    observer.end(what, _end_of(answer, ended_ns))


def _end_of(answer: Any, ended_ns: int) -> CallEnd:
    if answer is None:
        return CallEnd("cancelled", ended_ns=ended_ns)
    if isinstance(answer, BaseException):
        return _refused(answer)._replace(ended_ns=ended_ns)
    if type(answer) is not tuple:  # its value has been asked for already
        return CallEnd("done", ended_ns=ended_ns)
    kind, body, _, worker_id, ran_ns = answer
    if kind != protocol.ERROR:
        return CallEnd("done", "", "", "", worker_id, ran_ns / 1e9, ended_ns)
    failure = decode(body)
    return CallEnd("failed", failure.name, failure.message, failure.stack, worker_id, ran_ns / 1e9, ended_ns)


def _refused(error: BaseException) -> CallEnd:
    if isinstance(error, RemoteError):
        return CallEnd("failed", error.name, error.message, error.stack or "")
    return CallEnd("failed", type(error).__name__, str(error))
