"""Coroutines of calls, side by side on an event loop in the main thread.

Loaded with the first of them: `asyncio` takes several times as long as all else that a worker loads.
"""

from __future__ import annotations

import asyncio
import contextvars

from wpc_magic.pool.worker.guards import loop_guard

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from wpc_magic.pool.wire.channel import Frame, Reader
    from wpc_magic.pool.worker.guards import Notice

__all__ = ["Tasks"]


class Tasks:
    """The coroutines that have begun and not ended. The loop runs only inside `run`.

    Parameters
    ----------
    reader : Reader
        Of the call channel, so that a message ends `run`.
    notice : callable
        Told what a callback raises.

    Attributes
    ----------
    tag : ContextVar
        The number of the call whose coroutine runs, 0 outside of them.
    inbox : list of frames
        What `run` will return.
    loop : asyncio.AbstractEventLoop
        Where they run.
    """

    def __init__(self, reader: Reader, notice: Notice) -> None:
        self.tag: contextvars.ContextVar[int] = contextvars.ContextVar("wpc_call", default=0)
        self.inbox: list[Frame] = []
        self._reader = reader
        self._notice = notice
        self._broken: Exception | None = None
        self._running: dict[asyncio.Task[Any], int] = {}
        self._ending = False
        self.loop = self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(loop_guard(notice))
        asyncio.set_event_loop(self._loop)
        self._loop.add_reader(reader.sock.fileno(), self._on_readable)

    def __bool__(self) -> bool:
        return bool(self._running or self.inbox)

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._running)

    def begin(self, seq: int, coroutine: Any, ended: Callable[[asyncio.Task[Any]], None]) -> None:
        """Begin a coroutine; its first step comes with the next `run`.

        Parameters
        ----------
        seq : int
            The call's number.
        coroutine : coroutine
            Of the user's function.
        ended : callable
            Called with the task when it has ended.
        """
        context = contextvars.copy_context()
        context.run(self.tag.set, seq)
        task = self._loop.create_task(coroutine, context=context)
        self._running[task] = seq

        def end(task: asyncio.Task[Any]) -> None:
            del self._running[task]
            if not (self._running or self._ending):
                self._loop.stop()
            ended(task)

        task.add_done_callback(end)

    def has(self, seq: int) -> bool:
        """Tell whether a call's coroutine has begun and not ended. Any thread may ask."""
        return seq in list(self._running.values())

    def seq_of(self, task: Any) -> int:
        """Return the call whose coroutine a task is; 0: of none. Any thread may ask."""
        return self._running.get(task, 0)

    def now(self) -> int:
        """Return the call of whose coroutine a step runs at this moment; 0: of none. Any thread may ask."""
        task = asyncio.tasks.current_task(self._loop)
        return self._running.get(task, 0) if task is not None else 0

    def stepping(self) -> int:
        """Return the same also for a task that the coroutine has made. In the loop's thread only."""
        return self.tag.get() if asyncio.tasks.current_task(self._loop) is not None else 0

    def cancel_soon(self, seq: int) -> None:
        """Have the coroutine of a call cancelled. Any thread may ask."""
        try:
            self._loop.call_soon_threadsafe(self._cancel_one, seq)
        except RuntimeError:  # the loop is closed: all of them have ended
            pass

    def _cancel_one(self, seq: int) -> None:
        for task, number in self._running.items():
            if number == seq:
                task.cancel()

    def run(self) -> list[Frame]:
        """Run the loop until a message has come, or the last coroutine has ended; return what has come.

        Raises
        ------
        Exception
            If the call channel is broken.
        """
        if not self.inbox:
            try:
                self._loop.run_forever()
            except (KeyboardInterrupt, SystemExit) as error:
                # The loop lets these through. If a coroutine raised it, that is its call's outcome already.
                if not any(task.done() and _raised(task, error) for task in self._running):
                    self._notice("unhandled_rejection", error, {})
        if self._broken is not None:
            raise self._broken
        frames, self.inbox = self.inbox, []
        return frames

    def cancel(self) -> None:
        """Cancel all that is left on the loop, wait until it has ended, and close the loop."""
        self._ending = True
        self._loop.remove_reader(self._reader.sock.fileno())
        try:
            while tasks := asyncio.all_tasks(self._loop):
                for task in tasks:
                    task.cancel()
                self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        except (KeyboardInterrupt, SystemExit):
            pass  # a coroutine's answer to being cancelled: we end anyway
        self._loop.close()

    def _on_readable(self) -> None:
        try:
            self.inbox += self._reader.read()
        except Exception as error:  # the loop itself would only log it, and ask again
            self._broken = error
        self._loop.stop()


def _raised(task: asyncio.Task[Any], error: BaseException) -> bool:
    return not task.cancelled() and task.exception() is error
