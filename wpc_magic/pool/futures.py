"""What a call gives back: a future that waits cheaply, and can be awaited."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from concurrent.futures import CancelledError, Future
from concurrent.futures._base import CANCELLED_AND_NOTIFIED, FINISHED, PENDING
from typing import TYPE_CHECKING, Any, Protocol

from .checks import check_callable, check_seconds
from .quiet import QuietEvent, QuietLock
from .wire import protocol
from .wire.blocks import Unmapped
from .wire.codec import decode
from .worker.failure import revive

if TYPE_CHECKING:
    from .hands.link import Link
    from .mind.calls import Call

__all__ = ["CallFuture", "Waiting", "leave_alone"]


class Waiting(Protocol):
    """What a future asks of the driver."""

    def check(self) -> None:
        """Refuse to work in a fork."""

    def wait(self, future: CallFuture, timeout: float | None) -> None:
        """Return when the future has ended, or the time is over."""

    def watch(self) -> None:
        """See to it that answers are read although nobody waits in `wait`."""

    def cancel(self, future: CallFuture) -> bool:
        """End the call, and its work."""

    def has_begun(self, future: CallFuture) -> bool:
        """Tell whether the call runs."""

    def call_soon(self, function: Callable[..., object], *args: object) -> None:
        """Call a function in the thread of the callbacks."""

    def wait_in_loop(self, future: CallFuture, loop: Any) -> Any:
        """Return an asyncio future that ends with this one."""


def leave_alone(interrupt: BaseException) -> None:
    """Do nothing with what ends a wait; see `CallFuture.on_interrupt`."""


class CallFuture(Future[Any]):
    """The outcome of a call, now or later.

    A `concurrent.futures.Future`: ``wait``, ``as_completed`` and ``asyncio.wrap_future`` take it. It can be
    awaited as well.

    Attributes
    ----------
    call_id : int
        The number of the call.
    name : str
        The function's name.
    on_interrupt : callable
        Of the class: given a KeyboardInterrupt or CancelledError that ends a wait, before it is raised. A
        notebook has it shown in few lines.

    Notes
    -----
    The base class makes a lock and a condition for each future, which costs more than all the rest. Here a
    condition is made only when somebody asks for one. Whoever ends the future and whoever asks agree by one
    ``dict.setdefault``: either the end comes first, and a condition made later finds it ended; or the
    condition does, and the end is told under it.

    Who reads an answer only stores it; it is decoded in the thread that asks for it, since that may run a
    user's code.
    """

    on_interrupt: Callable[[BaseException], object] = staticmethod(leave_alone)

    def __init__(self, call: Call, driver: Waiting) -> None:
        self.call = call
        self._driver = driver
        self._answer: Any = None  # a frame; or the exception; or None: cancelled
        self._told = False  # whether it has ended, where there is a condition
        self._outcome: tuple[bool, Any] | None = None
        self._traceback: Any = None  # of the exception, as it came
        self.loops: list[tuple[Any, Any]] = _NONE  # event loops, and their futures, that wait for it
        self.expected_at: Link | None = None  # where its maker may wait without asking
        self.wakes: list[Callable[[], object]] = _NONE  # of threads that wait for it

    @property
    def call_id(self) -> int:
        """The number of the call."""
        return self.call.id

    @property
    def name(self) -> str:
        """The function's name."""
        return self.call.name

    def __repr__(self) -> str:
        return f"<CallFuture {self.call}: {self._state.lower().partition('_')[0]}>"

    # -- the end ----------------------------------------------------------------------------------------

    def settle(self, answer: Any) -> None:
        """End the future; the driver does, once, under its lock.

        Parameters
        ----------
        answer : object
            A frame, an exception, or None: cancelled.
        """
        self._answer = answer
        condition = self.__dict__.setdefault("_made_condition", _ENDED)
        if condition is not _ENDED:
            with condition:
                self._told = True
                condition.notify_all()
                for waiter in self.__dict__.get("_waiters", ()):
                    if answer is None:
                        waiter.add_cancelled(self)
                    elif isinstance(answer, BaseException) or answer[0] == protocol.ERROR:
                        waiter.add_exception(self)
                    else:
                        waiter.add_result(self)
        callbacks = self.__dict__.get("_callbacks")
        if callbacks:
            self._driver.call_soon(self._run_callbacks)
        for wake in self.wakes:
            wake()
        for loop, waiter in self.loops:
            _end_waiter(loop, waiter)

    @property
    def ended(self) -> bool:
        """Whether it has ended; unlike `done`, it only looks."""
        return self._told or self.__dict__.get("_made_condition") is _ENDED

    def wake_by(self, wake: Callable[[], object]) -> None:
        """Have a waiting thread woken at the end. Under the driver's lock."""
        if self.wakes:
            self.wakes.append(wake)
        else:
            self.wakes = [wake]

    def wake_not_by(self, wake: Callable[[], object]) -> None:
        """Have a thread woken no more. Under the driver's lock."""
        if wake in self.wakes:
            self.wakes.remove(wake)

    @property
    def is_awaited(self) -> bool:
        """Whether somebody waits for it already, or has asked to be told."""
        return bool(self.wakes or self.loops or "_made_condition" in self.__dict__)

    @property
    def _state(self) -> str:  # type: ignore[override]  # ``concurrent.futures.wait`` looks at it
        if self.ended:
            return CANCELLED_AND_NOTIFIED if self._answer is None else FINISHED
        return PENDING

    @property
    def _condition(self) -> threading.Condition:  # type: ignore[override]
        condition: Any = self.__dict__.get("_made_condition")
        if condition is None:
            self._driver.watch()
            condition = self.__dict__.setdefault("_made_condition", _condition())
        if condition is _ENDED:
            # Whoever acquires it releases it by asking once more, and has to get the same one then.
            condition = self.__dict__.setdefault("_late_condition", _condition())
        made: threading.Condition = condition
        return made

    @property
    def _waiters(self) -> list[Any]:  # type: ignore[override]  # for the same, under the condition
        waiters: list[Any] = self.__dict__.setdefault("_waiters", _Waiters())
        return waiters

    # -- asking -----------------------------------------------------------------------------------------

    def done(self) -> bool:
        """Return whether it has ended."""
        if self.ended:
            return True
        self._driver.watch()
        return False

    def cancelled(self) -> bool:
        """Return whether it was cancelled."""
        return self.ended and self._answer is None

    def running(self) -> bool:
        """Return whether its function runs now."""
        return not self.done() and self._driver.has_begun(self)

    def cancel(self) -> bool:
        """End the call, and its work if that has begun; return whether it is cancelled.

        The future is cancelled at once. The function sees `CallInterrupted` and may clean up; if that takes
        longer than ``interrupt_grace_ms``, its worker is ended and replaced.
        """
        return self.cancelled() or (not self.ended and self._driver.cancel(self))

    def result(self, timeout: float | None = None) -> Any:
        """Return the value; wait for it if need be.

        Parameters
        ----------
        timeout : float, optional
            How long to wait, in seconds. The call goes on when it is over.

        Raises
        ------
        TimeoutError
            If the time is over first.
        concurrent.futures.CancelledError
            If the call was cancelled.
        BaseException
            The function's own exception, or one of `wpc_magic.pool.errors`.
        """
        __tracebackhide__ = True
        try:
            ok, outcome = self._wait(timeout)
        except KeyboardInterrupt as interrupt:
            CallFuture.on_interrupt(interrupt)
            raise interrupt.with_traceback(None) from None  # from where in here, nobody wants to know
        if ok:
            return outcome
        try:
            raise outcome.with_traceback(self._traceback)  # else it grew each time that somebody asks
        finally:
            del self, outcome  # a traceback that holds its own exception would never be freed at once

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return the exception, or None if there is a value; wait if need be. See `result`."""
        ok, outcome = self._wait(timeout)
        if not ok and self._answer is None:
            raise outcome
        return None if ok else outcome

    def _wait(self, timeout: float | None) -> tuple[bool, Any]:
        if timeout is not None:
            timeout = check_seconds("timeout", timeout)
        if self._outcome is None:
            if not self.ended:
                self._driver.check()  # in a fork no answer ever comes
            self._driver.wait(self, timeout)  # also where it has ended: what it printed is shown first
            if not self.ended:
                raise TimeoutError(f"{self.call} has not ended after {timeout} s; it goes on")
        answer = self._answer  # first: another thread that asks notes the outcome, and then lets go of this
        outcome = self._outcome
        if outcome is None:
            if answer is None:
                return False, CancelledError(f"{self.call} was cancelled")
            outcome = (False, answer) if isinstance(answer, BaseException) else self._decode(answer)
            if not outcome[0] and self._outcome is None:
                self._traceback = outcome[1].__traceback__
            # Whoever was first decides for all: two threads that ask get the same object.
            outcome = self._outcome = self._outcome or outcome
            self._answer = True if outcome[0] else outcome[1]  # lets go of the frame
        return outcome

    def _decode(self, answer: Any) -> tuple[bool, Any]:
        """Return whether an answer is a value, and the value or the exception."""
        kind, body, buffers, worker = answer
        if kind == protocol.VALUE:
            try:
                return True, decode(body, buffers.map() if isinstance(buffers, Unmapped) else buffers)
            except Exception as error:
                error.add_note(f"while the value of {self.call} was unpickled here")
                return False, error
        failure = decode(body)
        raised = revive(failure)
        if failure.note:
            raised.add_note(failure.note)
        raised.add_note(f"in {self.call} on worker {worker}")
        return False, raised

    def add_done_callback(self, fn: Callable[[Future[Any]], object]) -> None:
        """Have `fn` called with this future when it has ended: in a thread of the pool's, or at once here."""
        check_callable("fn", fn)
        with self._condition:
            if not self.ended:
                self.__dict__.setdefault("_callbacks", []).append(fn)
                return
        _call(fn, self)

    def when_ended(self, take: Callable[[CallFuture], object]) -> None:
        """Have `take` called with this future by whoever ends it, or at once here.

        It must not wait, and not run a user's code: the driver's lock is held.
        """
        with self._condition:
            if not self.ended:
                self._waiters.append(_Taker(take))
                return
        take(self)

    def _run_callbacks(self) -> None:
        for fn in self.__dict__.pop("_callbacks", ()):
            _call(fn, self)

    def wait_in(self, loop: Any) -> Any:
        """Return an asyncio future that ends with this one, or None if it has ended.

        Parameters
        ----------
        loop : asyncio.AbstractEventLoop
            The loop that is to run it.
        """
        if self.ended:
            return None
        self._driver.check()
        return self._driver.wait_in_loop(self, loop)

    def __await__(self) -> Generator[Any, None, Any]:
        __tracebackhide__ = True
        if not self.ended:
            import asyncio

            self._driver.check()
            waiter = self._driver.wait_in_loop(self, asyncio.get_running_loop())
            try:
                yield from waiter
            except asyncio.CancelledError as error:
                self.cancel()
                CallFuture.on_interrupt(error)
                raise
        return self.result()

    # The base class lets anybody end a future; this one only the pool ends.

    def set_running_or_notify_cancel(self) -> bool:
        """Refuse: only the pool moves its futures on."""
        raise RuntimeError("only the pool moves the future of a call on")

    def set_result(self, result: Any) -> None:
        """Refuse: only the pool ends its futures."""
        raise RuntimeError("only the pool ends the future of a call")

    def set_exception(self, exception: BaseException | None) -> None:
        """Refuse: only the pool ends its futures."""
        raise RuntimeError("only the pool ends the future of a call")

    def __reduce__(self) -> Any:
        raise TypeError("the future of a call belongs to this process; send its result() instead")


def _condition() -> threading.Condition:
    return threading.Condition(QuietLock())  # type: ignore[arg-type]  # all that a condition asks of a lock


class _Waiters(list[Any]):
    """What ``concurrent.futures.wait`` and ``as_completed`` enter; whoever ends a future tells it."""

    def append(self, waiter: Any) -> None:
        if not isinstance(waiter.event, QuietEvent):  # nobody has waited for it yet
            waiter.event = QuietEvent()
        super().append(waiter)


class _Taker:
    """What `concurrent.futures` calls a waiter: it is told how a future has ended."""

    def __init__(self, take: Callable[[CallFuture], object]) -> None:
        self.event = QuietEvent()
        self.add_result = self.add_exception = self.add_cancelled = take


class _Ended:
    def __repr__(self) -> str:
        return "<ended>"


_ENDED: Any = _Ended()
_NONE: Any = ()


def _call(fn: Callable[[Future[Any]], object], future: Future[Any]) -> None:
    try:
        fn(future)
    except Exception:
        import logging

        logging.getLogger("concurrent.futures").exception("exception calling callback for %r", future)


def _end_waiter(loop: Any, waiter: Any) -> None:
    from asyncio import _get_running_loop

    if _get_running_loop() is loop:
        if not waiter.done():
            waiter.set_result(None)
        return
    try:
        loop.call_soon_threadsafe(_set, waiter)
    except RuntimeError:  # that loop is closed: nobody waits any more
        pass


def _set(waiter: Any) -> None:
    if not waiter.done():
        waiter.set_result(None)
