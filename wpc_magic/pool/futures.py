"""The future of a call: cheap to wait for, and awaitable."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Generator
from concurrent.futures import CancelledError
from concurrent.futures._base import CANCELLED_AND_NOTIFIED, FINISHED, PENDING
from typing import TYPE_CHECKING, Any

from .checks import check_seconds
from .errors import PoolStateError, RemoteError
from .future_arguments import reduced_future
from .future_callbacks import CallbackFuture
from .future_driver import FutureDriver
from .interrupts.locks import SignalSafeLock
from .loop_waiters import end_waiter
from .options import ANONYMOUS, shown_name
from .outcomes import FailedCall, decoded_error, decoded_value
from .passed_answers import Receive, hand_over
from .public import OF_A_FUTURE
from .value_type import Value
from .wait_events import Waiters
from .wire import protocol
from .wire.protocol import Progress

if TYPE_CHECKING:
    from .core.call_place import CallPlace
    from .core.calls import Call

__all__ = ["CallFuture", "leave_alone"]


def leave_alone(interrupt: BaseException) -> None:
    """Do nothing: the default of `CallFuture.on_interrupt`."""


class CallFuture(CallbackFuture[Value]):
    """The outcome of a call, now or later.

    A `concurrent.futures.Future`: ``wait``, ``as_completed`` and ``asyncio.wrap_future`` accept it. It can
    be awaited as well, and everything in `asyncio` that takes an awaitable takes it.

    Attributes
    ----------
    call_id : int
        The number of the call.
    name : str
        The function's name.
    on_interrupt : callable
        Class attribute: called with the KeyboardInterrupt or CancelledError that ends a wait, and with the
        TypeError of wrong arguments, before it is raised. A notebook uses it to shorten the traceback.
    raises_exits : bool
        Class attribute: whether a function's SystemExit is raised as itself. A notebook, which does not end
        by it, sets it to False: then it is a `RemoteError`.
    from_cache : bool
        Whether it has not run, since its value was stored on disk: see `CallOptions`.
    progress : Progress or None
        How far the function says that it is: ``context.progress(done, total, text)``.

    Notes
    -----
    The base class creates a lock and a condition for each future, which costs more than everything else.
    Here a condition is created on demand. The thread that ends the future and the one that needs a condition
    synchronise by one atomic ``dict.setdefault``: either the end is first, and a condition created later
    finds the future ended; or the condition is first, and the end is notified under it.

    The thread that reads an answer only stores it; it is decoded in the thread that asks for it, because
    decoding may run user code.
    """

    on_interrupt: Callable[[BaseException], object] = staticmethod(leave_alone)
    raises_exits = True
    is_shown = False  # whether its output is known to be shown
    from_cache = False  # whether its value was stored, and it has not run
    part_of: Any = None  # the map whose chunk it is
    progress: Progress | None = None
    _ran_ns = 0
    failed: FailedCall | None = None
    """What is known of it where it has failed; set by the driver before it ends."""
    unasked: Any = None  # tells its error, where it has one, if nobody asks for it
    trace: Any = None  # what travels with the call, where a tracer observes it
    chunk: bytes = b""
    """Of a chunk of a map: the encoded items, without large buffers; to tell which of them has failed."""
    chunk_is_whole = True  # whether these have no large buffers

    # What most futures never set stands in the class: to make a future is part of every call.
    _answer: Any = None  # a frame; or the exception; or None: cancelled
    _finished = False  # whether it has ended, if it has a condition
    _outcome: tuple[bool, Any] | None = None
    _traceback: Any = None  # of the exception, as received
    reserved_at: Any = None  # the link reserved for the submitter of the call; opaque here
    wakers: Any = ()  # of threads that wait for it; to be called when it ends
    receivers: tuple[Receive, ...] = ()  # calls that wait for it; see `pass_on`

    def __init__(self, call: Call, driver: FutureDriver) -> None:
        self.call = call
        self._driver = driver

    @property
    def call_id(self) -> int:
        """The number of the call."""
        return self.call.id

    @property
    def name(self) -> str:
        """The function's name."""
        name = self.call.name
        return shown_name(name) if name.startswith(ANONYMOUS) else name

    def __repr__(self) -> str:
        return f"<CallFuture {self.call}: {self.state}>"

    def __dir__(self) -> list[str]:
        return [*OF_A_FUTURE]

    @property
    def place(self) -> CallPlace | None:
        """Where the call is now; None: it has ended, or this is a fork, where nothing is known."""
        try:
            return None if self.ended else self._driver.place_of(self)
        except PoolStateError:
            return None

    @property
    def state(self) -> str:
        """How it stands, in words: ``"running on worker 2 for 3 s"``, ``"finished → float"``.

        A value that nobody has asked for yet is unpickled for it.
        """
        place = self.place
        if place is not None:
            return str(place)
        outcome = self.peek()
        if outcome is None:  # its work is being stopped
            return "pending"
        ok, value = outcome
        if ok:
            return f"finished → {'None' if value is None else type(value).__name__}"
        if isinstance(value, CancelledError) and self._answer is None:
            return "cancelled"
        return f"raised {value.name if isinstance(value, RemoteError) else type(value).__name__}"

    @property
    def ran_s(self) -> float:
        """For how long the function ran, in seconds, if it has returned or raised; else 0."""
        answer = self._answer
        return (answer[4] if type(answer) is tuple else self._ran_ns) / 1e9

    @property
    def raw_answer(self) -> Any:
        """What it was settled with, until that is decoded: a frame, an exception, or None: cancelled."""
        return self._answer

    def value_body(self) -> Any:
        """Return the pickle of the value of a call that has ended, if nobody has asked for it; else None."""
        answer = self._answer
        return answer[1] if type(answer) is tuple and answer[0] == protocol.VALUE else None

    def peek(self) -> tuple[bool, Any] | None:
        """Return whether there is a value, and that or the exception; None: it has not ended."""
        return self._settled() if self.ended else None

    # -- completion -------------------------------------------------------------------------------------

    def settle(self, answer: Any) -> None:
        """End the future; called once by the driver, under its lock.

        Parameters
        ----------
        answer : object
            A frame, an exception, or None: cancelled.
        """
        self._answer = answer
        condition = self.__dict__.setdefault("_made_condition", _ENDED)
        if condition is not _ENDED:
            if self.receivers:  # before anyone can unpickle it
                receivers, self.receivers = self.receivers, ()
                self._answer = answer = hand_over(self, receivers, answer)
            with condition:
                self._finished = True
                condition.notify_all()
                for waiter in self.__dict__.get("_waiters", ()):
                    if answer is None:
                        waiter.add_cancelled(self)
                    elif isinstance(answer, BaseException) or answer[0] == protocol.ERROR:
                        waiter.add_exception(self)
                    else:
                        waiter.add_result(self)
        if self._callbacks:  # looked at after it has ended, as whoever adds one looks at that after it has
            self._driver.call_soon(self._run_callbacks)
        for wake in self.wakers:
            wake()
        for loop, waiter in self.loops:
            end_waiter(loop, waiter, self, self._driver)
        self._driver.unsettled.discard(self)

    def end_anyhow(self, error: BaseException) -> None:
        """End the future, unless it has; notify all who wait, also if `settle` was stopped halfway."""
        wakers, self.wakers = self.wakers, ()
        self.settle(self._answer if self.ended else error)
        for wake in wakers:
            with contextlib.suppress(RuntimeError):  # woken already
                wake()

    @property
    def ended(self) -> bool:
        """Whether it has ended; unlike `done`, this does not start the polling."""
        return self._finished or self.__dict__.get("_made_condition") is _ENDED

    def add_waker(self, wake: Callable[[], object]) -> None:
        """Wake a waiting thread when the future ends. Under the driver's lock."""
        if self.wakers:
            self.wakers.append(wake)
        else:
            self.wakers = [wake]

    def remove_waker(self, wake: Callable[[], object]) -> None:
        """Undo `add_waker`. Under the driver's lock."""
        if wake in self.wakers:
            self.wakers.remove(wake)

    @property
    def is_awaited(self) -> bool:
        """Whether a thread or an event loop waits for it, or it has callbacks or a condition."""
        if self.wakers or self.loops or self._callbacks:
            return True
        return "_made_condition" in self.__dict__

    @property
    def _state(self) -> str:  # type: ignore[override]  # ``concurrent.futures.wait`` reads it
        if self.ended:
            return CANCELLED_AND_NOTIFIED if self._answer is None else FINISHED
        return PENDING

    @property
    def _condition(self) -> threading.Condition:  # type: ignore[override]
        condition: Any = self.__dict__.get("_made_condition")
        if condition is None:
            condition = self.__dict__.setdefault("_made_condition", _condition())
        if condition is _ENDED:
            # A caller acquires it by one access and releases it by another, so both must return the same one.
            condition = self.__dict__.setdefault("_late_condition", _condition())
        made: threading.Condition = condition
        return made

    @property
    def _waiters(self) -> list[Any]:  # type: ignore[override]  # read by the same, under the condition
        waiters: list[Any] = self.__dict__.setdefault("_waiters", Waiters(self, self._driver))
        return waiters

    # -- state and result -------------------------------------------------------------------------------

    def done(self) -> bool:
        """Return whether it has ended."""
        if self.ended:
            return True
        self._driver.ensure_polled()
        return False

    def cancelled(self) -> bool:
        """Return whether it was cancelled."""
        return self.ended and self._answer is None

    def running(self) -> bool:
        """Return whether its function is running."""
        return not self.done() and self._driver.has_begun(self)

    def cancel(self) -> bool:
        """Cancel the call, and its work if that has begun; return whether it is cancelled.

        The future is cancelled at once. `CallInterrupted` is raised in the function, which may clean up; if
        that takes longer than ``interrupt_grace_ms``, its worker is killed and replaced.
        """
        return self.cancelled() or (not self.ended and self._driver.cancel(self))

    def result(self, timeout: float | None = None) -> Value:
        """Return the value; wait for it if necessary.

        Parameters
        ----------
        timeout : float, optional
            How long to wait, in seconds. The call continues when it expires.

        Raises
        ------
        TimeoutError
            If the timeout expires first.
        concurrent.futures.CancelledError
            If the call was cancelled.
        BaseException
            The function's own exception, or one of `wpc_magic.pool.errors`.
        """
        __tracebackhide__ = True
        try:
            self._wait(timeout)
        except KeyboardInterrupt as interrupt:
            CallFuture.on_interrupt(interrupt)
            raise interrupt.with_traceback(None) from None  # our own frames are no help to the user
        ok, outcome = self._settled()
        if ok:
            return outcome  # type: ignore[no-any-return]
        try:
            raise outcome.with_traceback(
                self._traceback
            )  # without this it would grow with each call of `result`
        finally:
            # The traceback refers to this frame: with these it would refer to its own exception, and all that
            # the caller had would be freed by the collector only. The same is done in each frame of ours.
            del self, outcome

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return the exception, or None if there is a value; wait if necessary. See `result`."""
        self._wait(timeout)
        ok, outcome = self._settled()
        try:
            if not ok and self._answer is None:
                raise outcome
            return None if ok else outcome
        finally:
            del self, outcome

    def _wait(self, timeout: float | None) -> None:
        if timeout is not None:
            timeout = check_seconds("timeout", timeout)
        if self._outcome is None:
            driver = self._driver
            if driver.is_fork and not self.ended:
                driver.check()
            driver.wait(self, timeout)  # also if it has ended: its output is shown first
            if timeout is not None and not self.ended:
                raise TimeoutError(f"{self.call} has not ended after {timeout} s; it goes on")

    def _settled(self) -> tuple[bool, Any]:
        """Return the outcome of a call that has ended; the first time, it is decoded."""
        answer = self._answer  # read first: another thread sets the outcome, and then drops the answer
        outcome = self._outcome
        if outcome is not None:
            return outcome
        if answer.__class__ is tuple and answer[0] == protocol.VALUE:
            self._ran_ns = answer[4]
            outcome = decoded_value(self.call, answer)
            if outcome[0]:
                # The first thread decides for all: two threads that ask get the same object.
                outcome = self._outcome = self._outcome or outcome
                self._answer = True  # releases the frame
                return outcome
        try:
            return self._settled_error(answer, outcome)
        finally:  # frames of the error have this one behind them
            del self, answer, outcome

    def _settled_error(self, answer: Any, outcome: tuple[bool, Any] | None) -> tuple[bool, Any]:
        """Return the outcome of a call that has ended, and whose value is not there."""
        try:
            if answer is None:
                return False, CancelledError(f"{self.call} was cancelled")
            if outcome is not None:  # it could not be unpickled
                pass
            elif isinstance(answer, BaseException):
                failed = self.__dict__.pop("failed", None)  # once, whoever asks at the same time
                outcome = False, (answer if failed is None else failed.add_to(answer))
            else:
                self._ran_ns = answer[4]
                outcome = False, decoded_error(self.call, self.failed, answer, self.raises_exits)
            if self._outcome is None:
                self._traceback = outcome[1].__traceback__
            outcome = self._outcome = self._outcome or outcome
            self._answer, self.failed = outcome[1], None
            if self.unasked is not None:
                self.unasked.asked()
            return outcome
        finally:
            failed = None
            del self, answer, outcome

    def receive_with(self, receive: Receive) -> None:
        """Call `receive` with what the call ends with; see `pass_on`. Under the driver's lock."""
        _ = self._condition  # from now on, its channel is not reserved for who waits for it
        self._driver.poll_reserved(self)
        self.receivers = (*self.receivers, receive)

    def known_value(self) -> tuple[bool, Any]:
        """Return whether there is a value that has been unpickled, and that or None."""
        outcome = self._outcome
        return outcome if outcome is not None and outcome[0] else (False, None)

    def wait_in(self, loop: Any) -> Any:
        """Return an asyncio future that ends with this one, or None if it has ended, and its output is shown.

        Parameters
        ----------
        loop : asyncio.AbstractEventLoop
            The loop that the future belongs to, in which this is called.
        """
        if self.ended:
            waiter = loop.create_future()
            return None if self._driver.is_shown(self, loop, waiter) else waiter
        self._driver.check()
        return self._driver.wait_in_loop(self, loop)

    def __await__(self) -> Generator[Any, None, Value]:
        __tracebackhide__ = True
        import asyncio

        # One that has ended may be awaited in the loop of another library, too.
        loop = asyncio._get_running_loop() if self.ended else asyncio.get_running_loop()
        waiter = None if loop is None else self.wait_in(loop)
        if waiter is None:
            return self.result()
        try:
            try:
                yield from waiter
            except asyncio.CancelledError as error:
                self.cancel()
                CallFuture.on_interrupt(error)
                raise
            return self.result()
        finally:
            if self._driver.observer is not None:
                self._driver.observer.left(self)
            del self

    # In the base class any caller may end a future; here only the pool.

    def set_running_or_notify_cancel(self) -> bool:
        """Refuse: only the pool changes the state of its futures."""
        raise RuntimeError("only the pool moves the future of a call on")

    def set_result(self, result: Any) -> None:
        """Refuse: only the pool ends its futures."""
        raise RuntimeError("only the pool ends the future of a call")

    def set_exception(self, exception: BaseException | None) -> None:
        """Refuse: only the pool ends its futures."""
        raise RuntimeError("only the pool ends the future of a call")

    def __reduce__(self) -> Any:
        return reduced_future(self)


def _condition() -> threading.Condition:
    return threading.Condition(SignalSafeLock())  # type: ignore[arg-type]  # enough of a lock for it


class _Ended:
    def __repr__(self) -> str:
        return "<ended>"


_ENDED: Any = _Ended()
