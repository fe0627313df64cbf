"""What is called when a future has ended: in a thread of the pool, in an event loop, or by who ends it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from contextvars import copy_context
from typing import Any

from .checks import check_callable
from .future_driver import FutureDriver
from .interrupts.locks import SignalSafeEvent
from .value_type import Value

__all__ = ["CallbackFuture"]


class CallbackFuture(Future[Value]):  # type: ignore[type-var]  # covariant: only the pool puts a value in
    """A future that keeps what is to be called when it has ended.

    Nothing of it is made before the first of these is added: to make a future is part of every call.

    Attributes
    ----------
    loops : sequence
        Event loops that wait for it, and their futures.
    """

    loops: Any = ()
    _callbacks: Any = ()
    _driver: FutureDriver

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        raise NotImplementedError

    def wait_in(self, loop: Any) -> Any:
        """Return an asyncio future that ends with this one, or None if it has ended and is shown."""
        raise NotImplementedError

    def add_done_callback(self, fn: Callable[[Future[Any]], object]) -> None:
        """Call `fn` with this future when it has ended: in a thread of the pool, or here if it has by now.

        It is called in the context variables of the caller, as what asyncio calls later: in a notebook, what
        it prints, and the calls that it makes, belong to the cell that has added it.

        What ``asyncio.wait`` adds is called in its event loop: it must not be called in another thread.
        """
        check_callable("fn", fn)
        if getattr(fn, "__module__", None) == "asyncio.tasks":
            self._add_loop_callback(fn)
            return
        if not self.ended and self._keep(_Callback(fn)):
            self._driver.ensure_read(self)
        else:
            _call(fn, self)

    def _keep(self, callback: _Callback) -> bool:
        """Keep a callback for the thread of the pool; return False if it is to be called here."""
        self.__dict__.setdefault("_callbacks", []).append(callback)
        # Looked at after that: whoever ends it looks at the callbacks when it has ended.
        return not (self.ended and self._take(callback))

    def _take(self, callback: _Callback) -> bool:
        """Take a callback out; return whether nobody else has. It is called by the one who has."""
        try:
            self._callbacks.remove(callback)
        except ValueError:
            return False
        return True

    def _add_loop_callback(self, fn: Callable[[Future[Any]], object]) -> None:
        import asyncio

        loop = asyncio.get_running_loop()
        waiter = self.wait_in(loop)
        if waiter is None:
            loop.call_soon(fn, self)
            return

        def ended(_: object) -> None:
            self._remove_loop_callback(waiter)
            if self.ended:  # otherwise the loop itself is being closed
                fn(self)

        self.__dict__.setdefault("_loop_callbacks", {})[waiter] = fn, ended
        waiter.add_done_callback(ended)

    def _remove_loop_callback(self, waiter: Any) -> None:
        self.__dict__["_loop_callbacks"].pop(waiter, None)

    def remove_done_callback(self, fn: Callable[[Future[Any]], object]) -> int:
        """Remove a callback that has not been called; return how often it had been added."""
        count = 0
        for waiter, (added, ended) in list(self.__dict__.get("_loop_callbacks", {}).items()):
            if added == fn:
                waiter.remove_done_callback(ended)
                self._remove_loop_callback(waiter)
                waiter.cancel()  # the loop need not read the worker's channel for it any more
                count += 1
        for callback in list(self._callbacks):
            count += callback.fn == fn and self._take(callback)
        return count

    def when_ended(self, callback: Callable[[Any], object]) -> None:
        """Call `callback` with this future in the thread that ends it, or at once if it has ended.

        It must neither block nor run user code: the driver's lock is held.
        """
        with self._condition:
            is_kept = not self.ended
            if is_kept:
                self._waiters.append(_CallbackWaiter(callback))  # type: ignore[arg-type]
        if is_kept:  # not before: it takes the driver's lock, and whoever has that may wait for this one
            self._driver.ensure_read(self)
        else:
            callback(self)

    @property
    def has_callbacks(self) -> bool:
        """Whether anything is to be called when it ends, or an event loop waits."""
        return bool(self.loops or self._callbacks or self.__dict__.get("_loop_callbacks"))

    def _run_callbacks(self) -> None:
        callbacks = self._callbacks
        while callbacks:
            try:
                callback = callbacks.pop(0)
            except IndexError:  # another thread has taken the last one out
                return
            try:
                callback.context.run(_call, callback.fn, self)
            except BaseException as error:  # it ends no thread, and the others are called all the same
                with suppress(BaseException):  # nor does a handler of the log
                    _report(self, error)


class _Callback:
    """A callback, and the context variables that it is called in; equal to itself only."""

    __slots__ = ("context", "fn")

    def __init__(self, fn: Callable[[Future[Any]], object]) -> None:
        self.fn = fn
        self.context = copy_context()


class _CallbackWaiter:
    """A waiter in the sense of `concurrent.futures` that calls back, however the future has ended."""

    def __init__(self, callback: Callable[[Any], object]) -> None:
        self.event = SignalSafeEvent()
        self.add_result = self.add_exception = self.add_cancelled = callback


def _call(fn: Callable[[Future[Any]], object], future: Future[Any]) -> None:
    try:
        fn(future)
    except Exception as error:
        _report(future, error)


def _report(future: Future[Any], error: BaseException) -> None:
    import logging

    logging.getLogger("concurrent.futures").error("exception calling callback for %r", future, exc_info=error)
