"""The pool as a backend of joblib: ``with joblib.parallel_config(backend="wpc")``.

Importing this module registers it; so does the extension, as soon as a notebook has imported joblib.
"""

from __future__ import annotations

import contextlib
import hashlib
import multiprocessing
import os
import sys
import threading
import warnings
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from itertools import chain
from operator import itemgetter
from typing import Any

from joblib.parallel import (
    AutoBatchingMixin,
    FallbackToBackend,
    ParallelBackendBase,
    SequentialBackend,
    register_parallel_backend,
)

from .pool.api import WorkerProcedureCall
from .pool.errors import ArgumentsNotSerializableError, PoolStateError
from .pool.executors.setup import initializer_payload
from .pool.kept_arrays import KeptArrays
from .pool.machine import usable_cores

__all__ = ["WpcBackend", "stop_workers", "use"]

_lock = threading.Lock()
_chosen: list[WorkerProcedureCall] = []  # that are to be used; the last one is
_own: list[WorkerProcedureCall] = []  # the one that is made where none is


def use(pool: WorkerProcedureCall | None) -> None:
    """Have joblib use a pool from now on, where its configuration has no other.

    Parameters
    ----------
    pool : WorkerProcedureCall or None
        The pool. None: one of its own, with as many workers as jobs are asked for.
    """
    with _lock:
        _chosen[:] = [] if pool is None else [pool]


def stop_workers() -> None:
    """Stop the workers that were started where no pool was given."""
    with _lock:
        own = _own[:]
        _own.clear()
    for pool in own:
        pool.stop_workers()


def _default_pool() -> tuple[WorkerProcedureCall, bool]:
    """Return the pool to use, and whether it is joblib's own."""
    with _lock:
        if _chosen:
            return _chosen[-1], False
        if not _own:
            _own.append(WorkerProcedureCall(name="joblib"))
        return _own[0], True


def _is_in_worker() -> bool:
    tasks = sys.modules.get("wpc_magic.pool.worker.joblib_tasks")  # which each worker has loaded
    return tasks is not None and tasks.is_in_worker()


def _after_fork() -> None:
    """Forget the pools in a fork: they belong to the process that has made them."""
    global _lock
    _lock = threading.Lock()
    _chosen.clear()
    _own.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class WpcBackend(AutoBatchingMixin, ParallelBackendBase):  # type: ignore[misc]
    """Runs the tasks of joblib in a pool.

    Parameters
    ----------
    nesting_level : int, optional
        How deep it is within other calls of `joblib.Parallel`.
    inner_max_num_threads : int, optional
        How many threads BLAS and OpenMP libraries may use in a task; by default what the workers may.
    pool : WorkerProcedureCall, optional
        The pool; by default the notebook's, or one of joblib's own.
    """

    supports_retrieve_callback = True
    supports_inner_max_num_threads = True

    def __init__(
        self,
        nesting_level: int | None = None,
        inner_max_num_threads: int | None = None,
        pool: WorkerProcedureCall | None = None,
        **options: Any,
    ) -> None:
        super().__init__(nesting_level=nesting_level, inner_max_num_threads=inner_max_num_threads, **options)
        self._given = pool
        self._pool: _Run | None = None

    def __reduce__(self) -> Any:
        # A task takes along what its own calls of joblib use, and never this backend's pool.
        return type(self), (self.nesting_level, self.inner_max_num_threads)

    # -- how many ---------------------------------------------------------------------------------------

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """Return how many tasks may run at a time; more than there are workers wait for these."""
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        if n_jobs is None:
            return 1
        if n_jobs != 1 and (_is_in_worker() or multiprocessing.current_process().daemon):
            warnings.warn("a process that works for others has no workers, setting n_jobs=1", stacklevel=3)
            return 1
        if n_jobs > 0:
            return n_jobs
        pool = self._given or (_chosen[-1] if _chosen else None)
        count = pool.worker_count if pool is not None and pool.is_running else 0
        return max((count or usable_cores()) + 1 + n_jobs, 1)

    def configure(
        self, n_jobs: int = 1, parallel: Any = None, prefer: Any = None, require: Any = None, **options: Any
    ) -> int:
        """Start the workers if they are not running; return how many tasks may run at a time."""
        n_jobs = self.effective_n_jobs(n_jobs)
        if n_jobs == 1:
            raise FallbackToBackend(SequentialBackend(nesting_level=self.nesting_level))
        self.parallel = parallel
        options = {**self.backend_kwargs, **options}
        preparation = _preparation(
            self.inner_max_num_threads, options.get("initializer"), options.get("initargs") or ()
        )
        pool, is_own = (self._given, False) if self._given is not None else _default_pool()
        with _lock:
            if not pool.is_running:
                with contextlib.suppress(PoolStateError):  # somebody else has just started it
                    if pool.when_not_running is not None:
                        pool.when_not_running()
                    else:
                        pool.start_workers(n_jobs if is_own else None)
            elif is_own and pool.worker_count < n_jobs:
                pool.resize(n_jobs)
        most = n_jobs if n_jobs < pool.worker_count else None
        self._pool = _Run(pool, KeptArrays(pool._driver), most, preparation)
        return n_jobs

    # -- tasks ------------------------------------------------------------------------------------------

    def submit(self, func: Any, callback: Callable[[Any], object] | None = None) -> Any:
        """Send a batch of tasks to a worker; return its future."""
        run = self._pool
        assert run is not None
        future = run.submit(func)
        if callback is not None:
            future.add_done_callback(callback)
        return future

    def retrieve_result_callback(self, out: Any) -> Any:
        """Return the values of a batch that has ended."""
        run = self._pool
        if run is not None:
            run.pending.discard(out)
        return out.result()

    # -- the end ----------------------------------------------------------------------------------------

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """Stop the tasks that have not ended: one has failed."""
        run = self._pool
        if run is None:
            return
        run.cancel()
        if ensure_ready:
            self._pool = _Run(run.pool, run.kept, run.most, run.preparation)

    def terminate(self) -> None:
        """Let go of what the tasks have needed; the workers go on, for the next ones."""
        if self._pool is not None:
            self._pool.kept.release()
        self._pool = None
        self.reset_batch_stats()


class _Run:
    """The batches of tasks from one start, or failure, to the next.

    Parameters
    ----------
    pool : WorkerProcedureCall
        Where they run.
    kept : KeptArrays
        The arrays that are sent with them.
    most : int or None
        How many may be in the pool at once; None: it has no more workers than that.
    preparation : tuple
        What a worker does before a batch, as arguments of `_prepared`; empty: nothing.
    """

    def __init__(
        self, pool: WorkerProcedureCall, kept: KeptArrays, most: int | None, preparation: tuple[Any, ...]
    ) -> None:
        self.pool = pool
        self.kept = kept
        self.most = most
        self.preparation = preparation
        self.pending: set[Any] = set()
        self._gate = _Gate(most) if most is not None else None

    def submit(self, func: Any) -> Any:
        """Send a batch; return its future."""
        items = getattr(func, "items", None)
        if type(items) is list:
            func.items = _with_kept(self.kept, items)
        gate = self._gate
        future = gate.submit(self._send, func, items) if gate is not None else self._send(func, items)
        self.pending.add(future)
        return future

    def _send(self, func: Any, items: Any) -> Any:
        label = getattr(items[0][0], "__qualname__", "") if items else ""
        label = label if type(label) is str else ""
        try:
            if self.preparation:
                return self.pool.submit_function(_prepared, (func, *self.preparation), label=label)
            return self.pool.submit_function(func, label=label)
        except Exception as error:  # joblib asks for it in the order of the tasks
            if isinstance(error, ArgumentsNotSerializableError) and error.__cause__ is not None:
                error = _as_pickling_error(error)
            failed: Future[Any] = Future()
            failed.set_exception(error)
            return failed

    def cancel(self) -> None:
        """Stop what has not ended."""
        if self._gate is not None:
            self._gate.close()
        for future in list(self.pending):
            future.cancel()
        self.pending.clear()


# By value, and of no module of ours: in a function of ours, the work of a task could not be interrupted.
_PREPARED = """
def prepared(task, limit, key, payload):
    if key:
        from wpc_magic.pool.worker import joblib_tasks
        found = joblib_tasks.to_initialize(key, payload)
        if found is not None:
            initializer, arguments = found
            initializer(*arguments)
            joblib_tasks.initialized(key)
    if limit is None:
        return task()
    from threadpoolctl import threadpool_limits
    with threadpool_limits(limit):
        return task()
"""
_made: dict[str, Any] = {"__name__": "prepared_task_of_joblib"}
exec(_PREPARED, _made)
_prepared: Callable[..., Any] = _made["prepared"]


def _preparation(limit: int | None, initializer: Any, arguments: Any) -> tuple[Any, ...]:
    """Return what `_prepared` needs beside a batch; empty: there is nothing to prepare."""
    if initializer is None:
        return (limit, "", b"") if limit is not None else ()
    payload = initializer_payload(initializer, tuple(arguments))
    return limit, hashlib.sha256(payload).hexdigest(), payload


def _with_kept(kept: KeptArrays, items: list[Any]) -> list[Any]:
    """Return the tasks of a batch with what is to be sent in place of their arrays."""
    # Most batches are of many small tasks, whose arguments are numbers and texts.
    args = chain.from_iterable(map(itemgetter(1), items))
    kwargs = chain.from_iterable([each.values() for each in map(itemgetter(2), items) if each])
    if not kept.may_have_arrays(chain(args, kwargs)):
        return items
    return [
        (function, tuple(map(kept.add, args)), {name: kept.add(value) for name, value in kwargs.items()})
        for function, args, kwargs in items
    ]


def _as_pickling_error(error: Exception) -> Exception:
    from pickle import PicklingError

    pickling = PicklingError(f"Could not pickle the task to send to the workers: {error}")
    pickling.__cause__ = error
    return pickling


class _Gate:
    """Lets only so many batches be in the pool at once, where it has more workers than jobs are asked for."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._lock = threading.Lock()
        self._waiting: deque[tuple[_Waiting, Callable[..., Any], tuple[Any, ...]]] = deque()
        self._count = 0

    def submit(self, send: Callable[..., Any], *args: Any) -> _Waiting:
        """Send a batch as soon as there is room; return its future."""
        outer = _Waiting()
        self._waiting.append((outer, send, args))
        self._fill()
        return outer

    def _fill(self) -> None:
        while True:
            with self._lock:
                if self._count >= self.most or not self._waiting:
                    return
                self._count += 1
                outer, send, args = self._waiting.popleft()
            if outer.cancelled():
                with self._lock:
                    self._count -= 1
                continue
            outer.inner = inner = send(*args)
            inner.add_done_callback(lambda inner, outer=outer: self._ended(outer, inner))

    def _ended(self, outer: _Waiting, inner: Any) -> None:
        with self._lock:
            self._count -= 1
        outer.end()
        self._fill()

    def close(self) -> None:
        """Send nothing more."""
        with self._lock:
            waiting, self._waiting = list(self._waiting), deque()
        for outer, _, _ in waiting:
            outer.cancel()


class _Waiting(Future[Any]):
    """The future of a batch that may not have been sent yet."""

    inner: Any = None

    def cancel(self) -> bool:
        """Cancel it, and the work if that has begun."""
        return self.inner.cancel() if self.inner is not None else super().cancel()

    def end(self) -> None:
        """Take over how the batch has ended."""
        if self.inner.cancelled():
            super().cancel()
        elif self.set_running_or_notify_cancel():
            self.set_result(None)

    def result(self, timeout: float | None = None) -> Any:
        """Return the values of the batch."""
        super().result(timeout)
        return self.inner.result()


register_parallel_backend("wpc", WpcBackend)
