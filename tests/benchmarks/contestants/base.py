"""The interface of contestants for measures."""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any

from .. import work
from ..timing import Failed

__all__ = ["Contestant", "chunk_size"]


def chunk_size(items: int, workers: int) -> int:
    """Return the chunk size that `multiprocessing.Pool` would choose, for pools that do not choose one.

    It is faster for them than their default of one item.
    """
    return -(-items // (4 * workers))


class Contestant:
    """A pool with its default settings, without tuning.

    Attributes
    ----------
    package : str
        The installed package; empty: the standard library.
    workers : int
        How many are started.
    workers_are_threads : bool
        Whether they are threads of the caller's process, and no processes.
    identify : callable
        Takes a time, occupies a worker for it, and returns which one that was.
    """

    package = ""
    workers = 0
    workers_are_threads = False
    identify: Callable[[float], int] = staticmethod(work.pid_after)

    def version(self) -> str:
        """Return the measured version."""
        if not self.package:
            import platform

            return f"CPython {platform.python_version()}"
        return importlib.metadata.version(self.package)

    def open(self, workers: int) -> None:
        """Start a pool."""
        raise NotImplementedError

    def close(self) -> None:
        """Stop the pool, if there is one."""
        raise NotImplementedError

    def submit(self, function: Callable[..., Any], *args: Any) -> Any:
        """Submit a call, and return its future."""
        raise NotImplementedError

    def submit_with(self, callback: Callable[[Any], object], function: Callable[..., Any]) -> None:
        """Submit a call, with a function that runs here when it has ended."""
        self.submit(function).add_done_callback(callback)

    def results(self, futures: Sequence[Any]) -> list[Any]:
        """Wait for futures, and return their values."""
        return [future.result() for future in futures]

    def caller(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that makes one call and waits for its value, in the fastest way."""
        submit = self.submit
        return lambda *args: submit(function, *args).result()

    def map(self, function: Callable[[int], int], items: range) -> Sequence[int]:
        """Return the values for all items, in order."""
        raise NotImplementedError

    def chained(self, functions: Sequence[Callable[..., Any]], value: Any) -> Any:
        """Return the value after all functions, each of which takes that of the one before, in workers."""
        for function in functions:
            (value,) = self.results([self.submit(function, value)])
        return value

    def executor(self) -> Executor:
        """Return the open pool as an executor."""
        raise Failed("has no executor")

    def joblib_backend(self) -> tuple[str, dict[str, Any]]:
        """Return the name of its backend for joblib, and the options."""
        raise Failed("has no backend for joblib")

    def start(self, workers: int) -> float:
        """Start a pool, wait for a reply from each worker, and return the time, in seconds.

        The pool decides which worker runs a call. So as many calls as workers are submitted at once, each of
        which occupies its worker for 5 ms, until every worker has replied.
        """
        began = time.perf_counter()
        self.open(workers)
        replied: set[int] = set()
        while len(replied) < workers:
            replied.update(self.results([self.submit(self.identify, 0.005) for _ in range(workers)]))
            if time.perf_counter() - began > 60:
                raise Failed(f"only {len(replied)} of {workers} workers have answered within 60 s")
        took = time.perf_counter() - began
        self.close()
        return took
