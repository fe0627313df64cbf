"""Coroutines of calls, which run concurrently on an event loop in the main thread.

Imported for the first coroutine: `asyncio` takes several times as long to load as the rest of a worker.
"""

from __future__ import annotations

import asyncio
import contextvars
import weakref

from wpc_magic.pool.worker.exception_hooks import loop_exception_handler

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from wpc_magic.pool.wire.channel import Frame, Reader
    from wpc_magic.pool.worker.exception_hooks import Emit

__all__ = ["Tasks"]

_AGAIN_S = 0.05


class Tasks:
    """The coroutines that have begun and not ended. The loop runs only inside `run`.

    Parameters
    ----------
    reader : Reader
        Reads the call channel; a frame that arrives ends `run`.
    emit : callable
        Called with what a callback raises.

    Attributes
    ----------
    tag : ContextVar
        The number of the call whose coroutine runs; 0 outside of them.
    inbox : list of frames
        The frames that `run` will return.
    loop : asyncio.AbstractEventLoop
        The loop that runs them.
    """

    def __init__(self, reader: Reader, emit: Emit) -> None:
        self.tag: contextvars.ContextVar[int] = contextvars.ContextVar("wpc_call", default=0)
        self.inbox: list[Frame] = []
        self._reader = reader
        self._emit = emit
        self._broken: Exception | None = None
        self._running: dict[asyncio.Task[Any], int] = {}
        self._on_done: dict[asyncio.Task[Any], Callable[[Any], None]] = {}
        self._ending: set[int] = set()  # calls whose coroutines were cancelled, or close their generators
        # Not the exceptions themselves: their tracebacks hold all that the functions held.
        self._interrupted: dict[int, weakref.ref[BaseException]] = {}
        self._closing = False
        self._open_loop()

    def _open_loop(self) -> None:
        # Not the thread's current one: a function that asks for that outside of a coroutine would run, or
        # close, the loop of others.
        self.loop = self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(loop_exception_handler(self._emit))
        self._loop.add_reader(self._reader.sock.fileno(), self._on_readable)

    def __bool__(self) -> bool:
        return bool(self._running or self.inbox)

    @property
    def count(self) -> int:
        """The number of coroutines."""
        return len(self._running)

    def start(self, seq: int, coroutine: Any, on_done: Callable[[asyncio.Task[Any]], None]) -> None:
        """Make a task of a coroutine; the next `run` runs its first step.

        Parameters
        ----------
        seq : int
            The call's number.
        coroutine : coroutine
            What the user's function has returned.
        on_done : callable
            Called with the task when it is done.
        """
        self._replace_closed_loop()
        context = contextvars.copy_context()
        context.run(self.tag.set, seq)
        task = self._loop.create_task(coroutine, context=context)
        self._running[task] = seq
        self._on_done[task] = on_done

        def done(task: asyncio.Task[Any]) -> None:
            if self._running.pop(task, None) is None:
                return
            self._ending.discard(seq)
            self._interrupted.pop(seq, None)
            on_done = self._on_done.pop(task)
            if not (self._running or self._closing):
                self._loop.stop()
            on_done(task)

        task.add_done_callback(done)

    def has(self, seq: int) -> bool:
        """Whether a call's coroutine has begun and not ended. Any thread may call this."""
        return seq in list(self._running.values())

    def calls(self) -> set[int]:
        """Return the calls whose coroutines have begun and not ended."""
        return set(self._running.values())

    def seq_of(self, task: Any) -> int:
        """Return the call whose coroutine a task runs; 0: none. Any thread may call this."""
        return self._running.get(task, 0)

    def current(self) -> int:
        """Return the call whose coroutine currently runs a step; 0: none. Any thread may call this."""
        task = asyncio.tasks.current_task(self._loop)
        return self._running.get(task, 0) if task is not None else 0

    def current_by_context(self) -> int:
        """Return `current`, also for a task that the coroutine has created. Only in the loop's thread."""
        return self.tag.get() if asyncio.tasks.current_task(self._loop) is not None else 0

    def cancel_soon(self, seq: int) -> None:
        """Schedule the cancellation of a call's coroutine. Any thread may call this."""
        try:
            self._loop.call_soon_threadsafe(self._cancel_one, seq)
        except RuntimeError:  # the loop is closed: all coroutines have ended
            pass

    def _cancel_one(self, seq: int) -> None:
        if seq in self._ending:  # it cleans up, which may take several steps
            return
        if self._interruption_of(seq) is not None:  # it does so after an interrupt, unless it swallows that
            self._loop.call_later(_AGAIN_S, self._cancel_one, seq)
            return
        for task, number in self._running.items():
            if number == seq:
                self._ending.add(seq)
                task.cancel()

    def note_ending(self, seq: int) -> None:
        """Note that a call's coroutine closes its generator, and needs no cancellation to end."""
        self._ending.add(seq)

    def note_interrupted(self, error: BaseException) -> None:
        """Note the exception that an interrupt raises in the coroutine that runs a step."""
        self._interrupted[self.current_by_context()] = weakref.ref(error)

    def _interruption_of(self, seq: int) -> BaseException | None:
        """Return the exception that an interrupt has raised in a call's coroutine, while that handles it."""
        error = self._interrupted.get(seq)
        return None if error is None else error()

    def is_ended_by(self, error: BaseException) -> bool:
        """Whether an exception was to end the coroutine that runs a step: it cleans up if it handles that."""
        seq = self.current_by_context()
        if error is self._interruption_of(seq):
            return True
        return seq in self._ending and isinstance(error, (asyncio.CancelledError, GeneratorExit))

    def run(self) -> list[Frame]:
        """Run the loop until a frame arrives or the last coroutine has ended; return the frames.

        Raises
        ------
        Exception
            If the call channel is broken.
        """
        self._replace_closed_loop()
        if not self.inbox and self._running:
            try:
                self._loop.run_forever()
            except (KeyboardInterrupt, SystemExit) as error:
                # The loop does not catch these. If a coroutine raised it, it is its call's outcome already.
                if not any(task.done() and _raised(task, error) for task in self._running):
                    self._emit("unhandled_rejection", error, {})
        if self._broken is not None:
            raise self._broken
        frames, self.inbox = self.inbox, []
        return frames

    def _replace_closed_loop(self) -> None:
        """Open another loop if a function has closed this one, which it had from a coroutine.

        What has not ended then cannot go on.
        """
        if not self._loop.is_closed():
            return
        abandoned, self._running = list(self._running), {}
        self._ending.clear()
        self._interrupted.clear()
        self._open_loop()
        for task in abandoned:
            try:
                task.get_coro().close()
            except BaseException as error:
                self._emit("unhandled_rejection", error, {})
            self._on_done.pop(task)(_ABANDONED)

    def end_calls(self) -> None:
        """Cancel the coroutines of calls, and wait until they are done; no frame is read any more."""
        self._replace_closed_loop()
        self._closing = True
        self._loop.remove_reader(self._reader.sock.fileno())
        try:
            while tasks := [task for task in self._running if not task.done()]:
                for task in tasks:
                    task.cancel()
                self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        except (KeyboardInterrupt, SystemExit):
            pass  # a coroutine's response to its cancellation: this process ends anyway

    def finish(self, coroutine: Any) -> Any:
        """Run a coroutine to its end, after `end_calls`; return its value."""
        return self._loop.run_until_complete(coroutine)

    def cancel(self) -> None:
        """Cancel all tasks of the loop, wait until they are done, and close the loop."""
        self.end_calls()
        try:
            while tasks := asyncio.all_tasks(self._loop):
                for task in tasks:
                    task.cancel()
                self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        except (KeyboardInterrupt, SystemExit):
            pass  # a coroutine's response to its cancellation: this process ends anyway
        self._loop.close()

    def _on_readable(self) -> None:
        try:
            self.inbox += self._reader.read()
        except Exception as error:  # the loop itself would only log it, and try again
            self._broken = error
        self._loop.stop()


class _Abandoned:
    """Stands for a task whose loop was closed."""

    def result(self) -> None:
        raise RuntimeError("another function has closed the event loop in which this one ran")


_ABANDONED = _Abandoned()


def _raised(task: asyncio.Task[Any], error: BaseException) -> bool:
    return not task.cancelled() and task.exception() is error
