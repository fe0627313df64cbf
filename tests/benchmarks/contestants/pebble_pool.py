"""pebble."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pebble import ProcessPool

from .base import Contestant, chunk_size


class Pebble(Contestant):
    """With the default start method."""

    package = "pebble"
    pool: Any = None

    def open(self, workers: int) -> None:
        self.workers = workers
        self.pool = ProcessPool(workers)

    def close(self) -> None:
        self.pool.stop()
        self.pool.join()

    def submit(self, function: Callable[..., Any], *args: Any) -> Any:
        return self.pool.schedule(function, args=args)

    def map(self, function: Callable[[int], int], items: range) -> list[int]:
        size = chunk_size(len(items), self.workers)
        return list(self.pool.map(function, items, chunksize=size).result())


CONTESTANT = Pebble
