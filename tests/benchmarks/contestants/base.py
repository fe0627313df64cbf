"""What a measure asks of a contestant."""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Callable, Sequence
from typing import Any

from .. import work
from ..timing import Failed

__all__ = ["Contestant", "chunk_size"]


def chunk_size(items: int, workers: int) -> int:
    """Return the chunk that `multiprocessing.Pool` would choose, for those who choose none by themselves.

    They are better off with it than with their default of one item.
    """
    return -(-items // (4 * workers))


class Contestant:
    """A pool, with its defaults: nobody is tuned.

    Attributes
    ----------
    package : str
        What is installed; empty: the standard library.
    workers : int
        How many are open.
    """

    package = ""
    workers = 0

    def version(self) -> str:
        """Return the version that is measured."""
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
        """Make a call, and return its future at once."""
        raise NotImplementedError

    def results(self, futures: Sequence[Any]) -> list[Any]:
        """Wait for futures, and return their values."""
        return [future.result() for future in futures]

    def caller(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that makes one call and waits for its value, in the shortest way there is."""
        submit = self.submit
        return lambda *args: submit(function, *args).result()

    def map(self, function: Callable[[int], int], items: range) -> Sequence[int]:
        """Return the values for all items, in order."""
        raise NotImplementedError

    def start(self, workers: int) -> float:
        """Start a pool, have an answer of each worker, and return how long that took, in seconds.

        Which worker answers is up to the pool. So as many calls as there are workers are made at once, each
        of which holds its worker for 5 ms, until every worker has been heard of.
        """
        began = time.perf_counter()
        self.open(workers)
        heard: set[int] = set()
        while len(heard) < workers:
            heard.update(self.results([self.submit(work.pid_after, 0.005) for _ in range(workers)]))
            if time.perf_counter() - began > 60:
                raise Failed(f"only {len(heard)} of {workers} workers have answered within 60 s")
        took = time.perf_counter() - began
        self.close()
        return took
