"""mpire."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mpire import WorkerPool

from .base import Contestant


class Mpire(Contestant):
    """With workers kept alive between calls, which is not the default; with its own chunk size."""

    package = "mpire"
    pool: Any = None

    def open(self, workers: int) -> None:
        self.workers = workers
        self.pool = WorkerPool(workers, keep_alive=True)

    def close(self) -> None:
        self.pool.terminate()

    def submit(self, function: Callable[..., Any], *args: Any) -> Any:
        return self.pool.apply_async(function, args)

    def submit_with(self, callback: Callable[[Any], object], function: Callable[..., Any]) -> None:
        self.pool.apply_async(function, callback=callback)

    def results(self, futures: Sequence[Any]) -> list[Any]:
        return [future.get() for future in futures]

    def caller(self, function: Callable[..., Any]) -> Callable[..., Any]:
        apply = self.pool.apply
        return lambda *args: apply(function, args)

    def map(self, function: Callable[[int], int], items: range) -> list[int]:
        return self.pool.map(function, items)


CONTESTANT = Mpire
