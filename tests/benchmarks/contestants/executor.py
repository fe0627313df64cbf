"""The standard library's `ProcessPoolExecutor`."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from .base import Contestant, chunk_size


class Executor(Contestant):
    """With the default start method, which is fork on Linux before Python 3.14."""

    make: Callable[[int], Any] = ProcessPoolExecutor
    pool: Any = None

    def open(self, workers: int) -> None:
        self.workers = workers
        self.pool = type(self).make(workers)

    def close(self) -> None:
        self.pool.shutdown()

    def submit(self, function: Callable[..., Any], *args: Any) -> Any:
        return self.pool.submit(function, *args)

    def executor(self) -> Any:
        return self.pool

    def map(self, function: Callable[[int], int], items: range) -> list[int]:
        return list(self.pool.map(function, items, chunksize=chunk_size(len(items), self.workers)))


CONTESTANT = Executor
