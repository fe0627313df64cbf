"""ipyparallel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import ipyparallel

from .base import Contestant, chunk_size


class Ipyparallel(Contestant):
    """A cluster on this machine, and its balanced view, which is its pool."""

    package = "ipyparallel"
    cluster: Any = None

    def open(self, workers: int) -> None:
        self.workers = workers
        self.cluster = ipyparallel.Cluster(n=workers, log_level=40)
        self.client = self.cluster.start_and_connect_sync()
        self.view = self.client.load_balanced_view()

    def close(self) -> None:
        self.client.close()
        self.cluster.stop_cluster_sync()

    def submit(self, function: Callable[..., Any], *args: Any) -> Any:
        return self.view.apply_async(function, *args)

    def results(self, futures: Sequence[Any]) -> list[Any]:
        return [future.get() for future in futures]

    def caller(self, function: Callable[..., Any]) -> Callable[..., Any]:
        apply = self.view.apply_sync
        return lambda *args: apply(function, *args)

    def map(self, function: Callable[[int], int], items: range) -> list[int]:
        return list(self.view.map_sync(function, items, chunksize=chunk_size(len(items), self.workers)))

    def executor(self) -> Any:
        return self.view.executor

    def joblib_backend(self) -> tuple[str, dict[str, Any]]:
        ipyparallel.register_joblib_backend()
        return "ipyparallel", {"view": self.view}


CONTESTANT = Ipyparallel
