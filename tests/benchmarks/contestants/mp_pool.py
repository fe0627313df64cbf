"""The standard library's `multiprocessing.Pool`."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from typing import Any

from .base import Contestant


class MpPool(Contestant):
    """With the default start method, and its own chunk size."""

    pool: Any = None

    def open(self, workers: int) -> None:
        self.workers = workers
        self.pool = multiprocessing.Pool(workers)

    def close(self) -> None:
        self.pool.terminate()
        self.pool.join()

    def submit(self, function: Callable[..., Any], *args: Any) -> Any:
        return self.pool.apply_async(function, args)

    def submit_with(self, callback: Callable[[Any], object], function: Callable[..., Any]) -> None:
        self.pool.apply_async(function, callback=callback)

    def results(self, futures: Sequence[Any]) -> list[Any]:
        return [future.get() for future in futures]

    def caller(self, function: Callable[..., Any]) -> Callable[..., Any]:
        apply = self.pool.apply
        return lambda *args: apply(function, args)

    def joblib_backend(self) -> tuple[str, dict[str, Any]]:
        return "multiprocessing", {}  # with a pool of joblib's own

    def map(self, function: Callable[[int], int], items: range) -> list[int]:
        return self.pool.map(function, items)


CONTESTANT = MpPool
