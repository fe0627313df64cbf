"""Runs the code that makes, checks and closes resources in a worker, for as long as it may take.

The calls that wait meanwhile have not begun, so no time-out of theirs passes: the status page says so. What a
call needs can be interrupted with it, while closing can be ended only by its own limit.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import os
import threading
from types import CoroutineType

from wpc_magic.pool.errors import CallInterrupted, ResourceTimeoutError
from wpc_magic.pool.wire.status_page import PREPARES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from wpc_magic.pool.wire.channel import Frame
    from wpc_magic.pool.wire.protocol import Resource
    from wpc_magic.pool.worker.interruption import Interruption
    from wpc_magic.pool.worker.tasks import Tasks

__all__ = ["ResourceRuns"]

_REPEAT_S = 0.05  # as for calls
_GRACE_S = 5.0  # then the process ends
_CLOSE_MS = 10_000  # without a limit of its own: nobody can interrupt it
_EX_SOFTWARE = 70  # as in `control`


class ResourceRuns:
    """Runs the code of resources in the main thread of a worker. It is a `Runner`.

    Parameters
    ----------
    interruption : Interruption
        Interrupts what runs.
    words : sequence of int
        Those of the status page.
    tasks : callable
        Returns what runs coroutines.
    is_ending : callable
        Whether the worker shuts down.
    running : callable
        Returns the number of the call that begins; 0: none does.
    report : callable
        Given the name of a resource, what failed, and an exception or None, reports that.
    """

    def __init__(
        self,
        interruption: Interruption,
        words: Any,
        tasks: Callable[[], Tasks],
        is_ending: Callable[[], bool],
        running: Callable[[], int],
        report: Callable[[str, str, BaseException | None], object],
    ) -> None:
        self._interruption = interruption
        self._words = words
        self._tasks = tasks
        self._is_ending = is_ending
        self._running = running
        self._report = report
        self._main = threading.get_ident()

    def run(self, record: Resource, during: str, function: Any, *args: Any) -> Any:
        """Make or check a resource before a call, and await it if it is a coroutine.

        Raises
        ------
        ResourceTimeoutError
            If it takes too long.
        BaseException
            Whatever it raises.
        """
        return self._limited(record, during, record.timeout_ms, function, args)

    def close(self, record: Resource, function: Any, *args: Any) -> None:
        """Close a resource; what that raises is reported."""
        interruption = self._interruption
        interruption.sheltered = True
        try:
            self._limited(record, "close", record.timeout_ms or _CLOSE_MS, function, args)
        except BaseException as error:
            interruption.armed = False
            self._report(record.name, "close", error)
        finally:
            interruption.sheltered = False

    def lost(self, record: Resource, error: BaseException | None) -> None:
        """Report that a resource does not work any more."""
        self._report(record.name, "check", error)

    def _limited(self, record: Resource, during: str, limit_ms: int, function: Any, args: Any) -> Any:
        limit = _Limit(self, f"{during} the resource {record.name}", limit_ms) if limit_ms else None
        outer = self._words[PREPARES]
        self._words[PREPARES] = 1
        try:
            value = self.call(function, args)
            return self._awaited(value, limit) if type(value) is CoroutineType else value
        except BaseException as error:
            self._interruption.armed = False  # an interrupt may have prevented the same line in `call`
            if limit is not None and limit.expired and _is_interrupt(error):
                raise ResourceTimeoutError(
                    f"to {during} the resource {record.name} took longer than timeout_ms={limit_ms}"
                ) from None
            raise
        finally:
            if limit is not None:
                limit.end()
            self._words[PREPARES] = outer

    def call(self, function: Any, args: Any) -> Any:
        """Call a function of the user, which may be interrupted meanwhile."""
        interruption = self._interruption
        try:
            interruption.armed = True
            return function(*args)
        finally:
            interruption.armed = False

    def _awaited(self, coroutine: Any, limit: _Limit | None) -> Any:
        """Run a coroutine on the event loop of the worker, beside those of calls."""
        tasks = self._tasks()
        if self._is_ending():
            tasks.end_calls()
            return tasks.finish(coroutine)
        ended: list[Any] = []

        def on_done(task: Any) -> None:
            ended.append(task)
            tasks.loop.stop()  # coroutines of calls may go on

        if limit is not None:
            limit.on_expiry = lambda: tasks.cancel_soon(self._running())
        tasks.start(self._running(), coroutine, on_done)
        early: list[Frame] = []  # frames that arrive meanwhile are handled after this call
        while not (ended or self._is_ending()):
            early += tasks.run()
        tasks.inbox = early
        if not ended:
            raise CallInterrupted("the pool is stopping")
        return ended[0].result()

    def expire(self) -> None:
        """Interrupt what takes too long. Called by the thread of a limit."""
        self._interruption.expire()

    def send_sigint(self) -> None:
        """Have the main thread look whether it is to be interrupted. Called by the thread of a limit."""
        _signal.pthread_kill(self._main, _signal.SIGINT)

    def ended(self) -> None:
        """Interrupt nothing any more."""
        self._interruption.expired = False


class _Limit:
    """Interrupts what takes too long, and ends the process if that does not help."""

    def __init__(self, runs: ResourceRuns, what: str, limit_ms: int) -> None:
        self.expired = False
        self.on_expiry: Callable[[], object] = lambda: None
        self._runs = runs
        self._what = what
        self._limit_s = limit_ms / 1000
        self._limit_ms = limit_ms
        self._lock = threading.Lock()
        self._has_ended = threading.Event()
        threading.Thread(target=self._watch, name="wpc-resource-limit", daemon=True).start()

    def end(self) -> None:
        with self._lock:
            self._has_ended.set()
            self._runs.ended()

    def _watch(self) -> None:
        if self._has_ended.wait(self._limit_s):
            return
        with self._lock:
            if self._has_ended.is_set():
                return
            self.expired = True
            self._runs.expire()
        self.on_expiry()
        for _ in range(round(_GRACE_S / _REPEAT_S)):
            with self._lock:
                if self._has_ended.is_set():
                    return
                self._runs.send_sigint()
            if self._has_ended.wait(_REPEAT_S):
                return
        why = f"to {self._what} took longer than timeout_ms={self._limit_ms}, and could not be interrupted"
        try:
            os.write(2, f"wpc_magic: {why}\n".encode(errors="backslashreplace"))
        finally:
            os._exit(_EX_SOFTWARE)


def _is_interrupt(error: BaseException) -> bool:
    return isinstance(error, CallInterrupted) or type(error).__name__ == "CancelledError"
