"""The futures of an executor: what a caller of `concurrent.futures` expects of their errors."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from ..errors import CallError, InitializerError, PoolStoppedError, WorkerLostError
from ..future_driver import FutureDriver
from ..futures import CallFuture
from ..wire import protocol
from ..wire.codec import decode

if TYPE_CHECKING:
    from ..core.calls import Call

__all__ = ["ExecutorFuture", "ExecutorStatus", "as_broken", "failed_future"]


class ExecutorStatus:
    """What the futures of an executor know of it, also when it is gone.

    Attributes
    ----------
    broken : str
        Why it can run nothing any more; empty: it can.
    has_initializer : bool
        Whether workers call an initializer, which may fail.
    on_broken : callable
        Given the reason, called in a thread of the pool when the initializer has failed.
    """

    def __init__(self) -> None:
        self.broken = ""
        self.has_initializer = False
        self.on_broken: Callable[[str], object] = len


class ExecutorFuture(CallFuture):
    """A `CallFuture` that keeps its executor alive until it has ended.

    Where a worker has died, its error is a `concurrent.futures.process.BrokenProcessPool`, too: the pool goes
    on, and only this call is lost.
    """

    executor: Any = None

    def __init__(self, executor: Any, status: ExecutorStatus, call: Call, driver: FutureDriver) -> None:
        CallFuture.__init__(self, call, driver)
        self.executor = executor
        self._status = status

    def settle(self, answer: Any) -> None:
        """End the future, as `CallFuture.settle` does, and let go of the executor."""
        CallFuture.settle(self, answer)
        if self._status.has_initializer and type(answer) is tuple and answer[0] == protocol.ERROR:
            failure = decode(answer[1])  # of texts only
            if failure.name.endswith(f".{InitializerError.__name__}"):
                self._driver.call_soon(self._status.on_broken, failure.message)
        self.executor = None

    def set_running_or_notify_cancel(self) -> bool:
        """Return False if it was cancelled, else True: who is cancelled has been notified by then.

        Raises
        ------
        RuntimeError
            If it has ended otherwise: only the pool changes the state of its futures.
        """
        if self.cancelled():
            return False
        if self.ended:
            raise RuntimeError("only the pool moves the future of a call on, and it has ended")
        return True

    def _settled_error(self, answer: Any, outcome: tuple[bool, Any] | None) -> tuple[bool, Any]:
        if outcome is not None and isinstance(outcome[1], SystemExit):  # as a program it would end the caller
            why = f"the value of {self.call} cannot be unpickled: SystemExit: {outcome[1]}"
            outcome = False, as_broken(CallError)(why)
        elif type(answer) is tuple and answer[0] == protocol.ERROR and not answer[4]:  # it has not begun
            failure = decode(answer[1])
            if SystemExit.__name__ in failure.kinds:
                why = f"{self.call} cannot be unpickled by its worker: SystemExit: {failure.message}"
                outcome = False, as_broken(CallError)(why)
        try:
            ok, error = CallFuture._settled_error(self, answer, outcome)
            stopped = isinstance(error, PoolStoppedError) and self._status.broken
            if stopped:
                error.args = (f"{self.call} did not run: {self._status.broken}",)
            if stopped or isinstance(error, WorkerLostError | InitializerError):
                error.__class__ = as_broken(type(error))
            return ok, error
        finally:
            del self, answer, outcome, error


_broken: dict[Any, type[Exception]] = {}


def as_broken(kind: Any) -> type[Exception]:
    """Return a class of errors that is a `BrokenProcessPool` as well, with the same name."""
    from concurrent.futures.process import BrokenProcessPool  # it loads `multiprocessing`

    if issubclass(kind, BrokenProcessPool):
        return kind  # type: ignore[no-any-return]
    if kind not in _broken:
        about = {"__module__": kind.__module__, "__doc__": kind.__doc__, "__reduce__": _reduce}
        _broken[kind] = type(kind.__name__, (kind, BrokenProcessPool), about)
    return _broken[kind]


def _reduce(error: Any) -> tuple[Any, ...]:
    return _made, (type(error).__mro__[1], error.args, vars(error))


def _made(kind: type[Exception], args: tuple[Any, ...], attributes: dict[str, Any]) -> Exception:
    made = as_broken(kind)
    error: Exception = made.__new__(made, *args)
    error.args = args
    vars(error).update(attributes)
    return error


def failed_future(error: BaseException) -> Future[Any]:
    """Return a future that has ended with an error: of a call that could not be made."""
    future: Future[Any] = Future()
    future.set_exception(error)
    return future
