"""Dask's distributed engine on one machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from distributed import Client, LocalCluster

from .. import work
from .base import Contestant, chunk_size


class Dask(Contestant):
    """One thread per worker, as in the other pools; without the web dashboard."""

    package = "distributed"
    cluster: Any = None

    def open(self, workers: int) -> None:
        self.workers = workers
        self.cluster = LocalCluster(
            n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None
        )
        self.client = Client(self.cluster)

    def close(self) -> None:
        self.client.close()
        self.cluster.close()

    def submit(self, function: Callable[..., Any], *args: Any) -> Any:
        return self.client.submit(function, *args, pure=False)

    def results(self, futures: Sequence[Any]) -> list[Any]:
        return self.client.gather(list(futures))

    def map(self, function: Callable[[int], int], items: range) -> list[int]:
        # One task per item would take minutes: its documentation recommends manual batching. (Most of the
        # time is spent in traversing each returned list; its `bag` takes twice as long.)
        size = chunk_size(len(items), self.workers)
        chunks = [items[start : start + size] for start in range(0, len(items), size)]
        futures = self.client.map(work.increment_all, chunks, pure=False)
        return [value for values in self.client.gather(futures) for value in values]

    def chained(self, functions: Sequence[Callable[..., Any]], value: Any) -> Any:
        for function in functions:
            value = self.submit(function, value)
        return value.result()

    def executor(self) -> Any:
        return self.client.get_executor()

    def joblib_backend(self) -> tuple[str, dict[str, Any]]:
        return "dask", {}


CONTESTANT = Dask
