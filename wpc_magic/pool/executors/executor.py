"""`concurrent.futures.Executor` on a pool: whatever takes an executor runs on its workers."""

from __future__ import annotations

import concurrent.futures
import contextlib
import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from typing import Any, TypeVar

from ..anonymous import AnonymousName, label_of
from ..api import WorkerProcedureCall
from ..core.calls import NO_OPTIONS, Call
from ..driver.driver import Driver
from ..errors import ArgumentsNotSerializableError, InitializerError, NestedCallError, PoolStateError
from ..function_calls import AsOfNow
from ..futures import CallFuture
from ..machine import usable_cores
from ..options import CallOptions
from ..wire.codec import encode
from ..wire.unpicklable import explain, find_unpicklable
from ..wire.value_marks import FutureInValueError
from .at_exit import EXIT
from .future import ExecutorFuture, ExecutorStatus, as_broken, failed_future
from .process import ProcessOfExecutor
from .setup import initializer_payload
from .values import results

__all__ = ["PoolExecutor", "WpcExecutor"]

T = TypeVar("T")


class PoolExecutor(concurrent.futures.Executor):
    """An executor that runs its calls on a pool, which is somebody else's: `WorkerProcedureCall.executor`.

    Its futures are `CallFuture`: they can be awaited, and ``cancel()`` ends also what runs, and returns True
    then. A worker that dies costs the call that it ran, whose error is a
    `concurrent.futures.process.BrokenProcessPool`; all others go on.

    Parameters
    ----------
    pool : WorkerProcedureCall
        The pool.
    options : CallOptions
        The options of its calls.

    Examples
    --------
    >>> with WorkerProcedureCall() as wpc:
    ...     wpc.start_workers(1)
    ...     with wpc.executor() as executor:
    ...         list(executor.map(pow, [2, 3], [3, 2]))
    [8, 9]
    """

    def __init__(self, pool: WorkerProcedureCall, options: CallOptions = NO_OPTIONS) -> None:
        self._pool = pool
        self._options = options
        self._status = ExecutorStatus()
        self._shut_down = False
        self._ready = True  # whether the workers were started, if that is ours to do

    @property
    def _max_workers(self) -> int:  # dask and others ask for it
        return self._pool.worker_count or usable_cores()

    def __repr__(self) -> str:
        state = "broken" if self._status.broken else "shut down" if self._shut_down else "open"
        return f"<{type(self).__name__} on {self._pool!r}: {state}>"

    _grows = False  # whether there may be more workers

    def _start(self) -> None:
        """Start the workers: before the first call."""

    def _grow(self) -> None:
        """Start another worker, if a call waits for one."""

    def _refused(self, error: Exception) -> Future[Any]:
        """Return the future of a call that cannot be sent."""
        return failed_future(error)

    def _check(self) -> None:
        """Refuse to take another call.

        Raises
        ------
        BrokenProcessPool
            If the initializer has failed.
        RuntimeError
            If it was shut down.
        """
        if self._status.broken:
            raise as_broken(InitializerError)(self._status.broken)
        if self._shut_down:
            raise RuntimeError("cannot schedule new futures after shutdown")
        if EXIT.has_begun:
            raise RuntimeError("cannot schedule new futures after interpreter shutdown")
        if not self._ready:
            self._start()

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Call a function in a worker; return its future.

        Parameters
        ----------
        fn : callable
            The function, as for `WorkerProcedureCall.submit_function`.
        *args, **kwargs
            Its arguments.

        Raises
        ------
        RuntimeError
            If the executor was shut down.
        BrokenProcessPool
            If its initializer has failed.
        """
        if self._shut_down or not self._ready or EXIT.has_begun or self._status.broken:
            self._check()
        name, sent = self._pool._anonymous.for_call(fn)
        return self._submit(name, fn, sent, args, kwargs)

    def _submit(self, name: AnonymousName, function: Any, sent: Any, args: Any, kwargs: Any) -> Future[Any]:
        try:
            body, buffers = name.pickled_call(sent, (args, kwargs))
        except Exception as error:  # as in other executors, it comes out of the future
            if error.__class__ is FutureInValueError:
                return self._submit_dependent(
                    name, (args, kwargs) if sent is None else (sent, (args, kwargs)), 0
                )
            if isinstance(error, NestedCallError):  # it says what to do
                return self._refused(error)
            found = "" if sent is None else find_unpicklable(function, label_of(function))
            error.add_note(f"a call cannot be sent to a worker: {explain(found, error)}")
            return self._refused(error)
        pool = self._pool
        future = pool._submit(name, body, buffers, 0, self._options, pool.origin, make_future=self._future)
        if self._grows:
            self._grow()
        return future

    def _submit_batch(self, name: AnonymousName, function: Any, batch: list[tuple[Any, ...]]) -> Future[Any]:
        columns = tuple(map(list, zip(*batch, strict=True)))
        arguments = columns if function is None else (function, columns)
        try:
            body, buffers = encode(arguments)
        except Exception as error:
            if error.__class__ is FutureInValueError:
                return self._submit_dependent(name, arguments, len(batch))
            return self._refused(error)
        pool = self._pool
        future = pool._submit(
            name, body, buffers, len(batch), self._options, pool.origin, make_future=self._future
        )
        future.chunk = b"" if buffers else body
        if self._grows:
            self._grow()
        return future

    def _submit_dependent(self, name: AnonymousName, arguments: Any, items: int) -> Future[Any]:
        """Submit a call, or a batch, that waits for the values of the futures in its arguments."""
        pool = self._pool
        try:
            future: Future[Any] = pool._submit_dependent(
                name,
                arguments,
                str,  # as elsewhere here, the error says what it is
                self._options,
                pool.origin,
                items,
                make_future=self._future,
            )
        except ArgumentsNotSerializableError as error:
            return self._refused(error)
        if self._grows:
            self._grow()
        return future

    def _future(self, call: Call, driver: Driver) -> ExecutorFuture:
        return ExecutorFuture(self, self._status, call, driver)

    def map(
        self,
        fn: Callable[..., T],
        /,
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[T]:
        """Call a function for each item; return an iterator of the values, in order.

        Parameters
        ----------
        fn : callable
            The function, as it is now.
        *iterables : iterable
            One for each argument; all items are taken at once, unless `buffersize` is given.
        timeout : float, optional
            How long after this call each value may come, in seconds; else `TimeoutError` is raised.
        chunksize : int
            How many items are sent together. One that crashes its worker costs all of them.
        buffersize : int, optional
            How many calls may be made whose values were not taken: then items are taken as needed.

        Raises
        ------
        RuntimeError
            If the executor was shut down.
        """
        if not isinstance(chunksize, int) or chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        if buffersize is not None and not isinstance(buffersize, int):
            raise TypeError("buffersize must be an integer or None")
        if buffersize is not None and buffersize < 1:
            raise ValueError("buffersize must be None or > 0")
        self._check()
        due = None if timeout is None else time.monotonic() + timeout
        name = self._pool._anonymous.name_of(fn)
        try:
            function = None if name.is_held else AsOfNow(fn)
        except Exception as error:
            function, refused = None, error
            return results(deque([failed_future(refused)]), None, due, 1)
        rows = zip(*iterables, strict=False)
        items: Iterator[Any] = rows
        if chunksize > 1:
            items = iter(lambda: list(itertools.islice(rows, chunksize)), [])

        def make(item: Any) -> Future[Any]:
            if chunksize > 1:
                return self._submit_batch(name, function, item)
            return self._submit(name, function, function, item, {})

        futures = deque(map(make, items if buffersize is None else itertools.islice(items, buffersize)))
        more = None if buffersize is None else map(make, items)
        return results(futures, more, due, chunksize)

    def _pending(self) -> list[CallFuture]:
        """Return the futures that have not ended."""
        with self._pool._driver.reading():
            return [each for each in self._pool._driver.unsettled if getattr(each, "executor", None) is self]

    def _withdraw(self) -> None:
        """Cancel what is queued, but as many calls as the workers are about to take."""
        with self._pool._driver.locked_core() as (core, now):
            sent = sum(
                getattr(call.future, "executor", None) is self for call in core.dispatcher.in_flight.calls()
            )
            queued = [
                call
                for call in core.dispatcher.queued
                if getattr(call.future, "executor", None) is self and call.slot is None
            ]
            kept = max(0, len(core.state.slots) + 1 - sent)
            for call in reversed(queued[kept:]):
                core.dispatcher.cancel(call, now)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls.

        Parameters
        ----------
        wait : bool
            Whether to return when all have ended.
        cancel_futures : bool
            Whether to cancel the calls that no worker is about to run.
        """
        self._shut_down = True
        try:
            if cancel_futures:
                self._withdraw()
            if wait:
                concurrent.futures.wait(self._pending())
        except PoolStateError:  # of a fork: nothing of it runs here
            pass


class WpcExecutor(PoolExecutor):
    """An executor with a pool of its own, to be used as `concurrent.futures.ProcessPoolExecutor` is.

    Functions and arguments may be what the notebook defines. Workers start when calls need them, each as a
    new interpreter, and not as a fork.

    Parameters
    ----------
    max_workers : int, optional
        The number of workers; by default, the number of usable cores.
    mp_context : object
        Is accepted, and not used: how processes are started is the pool's to decide.
    initializer : callable, optional
        Called in each worker before its first call, also in one that replaces another. If it raises, all
        calls end with `concurrent.futures.process.BrokenProcessPool`.
    initargs : tuple
        Its arguments.
    max_tasks_per_child : int, optional
        After so many calls a worker is replaced, and takes no more until then.
    **options
        Fields of `PoolOptions`.

    Examples
    --------
    >>> with WpcExecutor(1) as executor:
    ...     executor.submit(pow, 2, 10).result()
    1024
    """

    def __init__(
        self,
        max_workers: int | None = None,
        mp_context: Any = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        max_tasks_per_child: int | None = None,
        **options: Any,
    ) -> None:
        if max_workers is not None and max_workers <= 0:
            raise ValueError("max_workers must be greater than 0")
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        if max_tasks_per_child is not None:
            if not isinstance(max_tasks_per_child, int):
                raise TypeError("max_tasks_per_child must be an integer")
            if max_tasks_per_child <= 0:
                raise ValueError("max_tasks_per_child must be >= 1")
            options["max_calls_per_worker"] = max_tasks_per_child
        super().__init__(WorkerProcedureCall(name="executor", **options))
        self._count = max_workers or usable_cores()
        self._context = mp_context
        self._ready = False
        self._refused_count = 0  # of calls that cannot be sent
        self._start_lock = threading.Lock()
        self._stopper: threading.Thread | None = None
        driver = self._pool._driver
        driver.core.supervisor.recycling.exact = max_tasks_per_child is not None
        if initializer is not None:
            driver.parts.initializer = initializer_payload(initializer, tuple(initargs))
            self._initargs = initargs  # a queue is open in workers as long as it is here
            self._status.has_initializer = True
            self._status.on_broken = _Breaker(self._status, driver)
        EXIT.executors.add(self)

    # What others read of the executor in the standard library, although it is private there.

    @property
    def _max_workers(self) -> int:
        return self._count

    @property
    def _broken(self) -> str | bool:
        return self._status.broken or False

    @property
    def _mp_context(self) -> Any:
        if self._context is None:
            import multiprocessing

            self._context = multiprocessing.get_context("spawn")  # which is most like what the pool does
        return self._context

    @property
    def _executor_manager_thread(self) -> threading.Thread | None:
        return self._pool._driver._thread.thread  # it lives as long as the workers

    @property
    def _processes(self) -> dict[int, ProcessOfExecutor]:
        with contextlib.suppress(Exception):  # whatever the outcome is, these are all
            self._pool.wait_until_ready(timeout_ms=10_000)
        workers = self._pool.snapshot().workers
        return {each.pid: ProcessOfExecutor(each.pid) for each in workers if each.pid is not None}

    def _start(self) -> None:
        with self._start_lock:
            if not self._ready:
                self._pool._begin_start(1, {}, self._count)  # calls are queued until it is ready
                self._ready = True
                self._grows = self._count > 1

    def _grow(self) -> None:
        core = self._pool._driver.core
        starting = sum(not slot.ready_since for slot in list(core.state.slots.values()))
        if core.dispatcher.queued.count > starting:
            self._start_another()

    def _refused(self, error: Exception) -> Future[Any]:
        # As others do, which start a process before they know: `_processes` says how many were submitted.
        self._refused_count += 1
        if self._grows and len(self._pool._driver.core.state.slots) < self._refused_count:
            self._start_another()
        return super()._refused(error)

    def _start_another(self) -> None:
        core = self._pool._driver.core
        with self._start_lock, contextlib.suppress(PoolStateError):  # it may be stopped meanwhile
            count = len(core.state.slots) + 1
            if count <= self._count:
                self._pool.resize(count)
            self._grows = count < self._count

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls, and stop the workers when all have ended; see `PoolExecutor.shutdown`."""
        self._shut_down = True
        if not self._ready:
            return
        try:
            if cancel_futures:
                self._withdraw()
        except PoolStateError:
            return
        if wait and self._stopper is None:
            self._pool.stop_workers(drain=True)
            return
        if self._stopper is None:
            # It does not end the program early: the interpreter waits for it at its exit.
            self._stopper = threading.Thread(
                target=self._pool.stop_workers, kwargs={"drain": True}, name="wpc-executor-stop"
            )
            self._stopper.start()
        if wait:
            self._stopper.join()


class _Breaker:
    """Ends all calls of an executor whose initializer has failed."""

    def __init__(self, status: ExecutorStatus, driver: Driver) -> None:
        self._status = status
        self._driver = driver

    def __call__(self, why: str) -> None:
        if not self._status.broken:
            self._status.broken = why
            self._driver.begin_stop()
