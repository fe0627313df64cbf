"""The same pool on a Dask cluster of this machine, beside the local one and what Dask itself does."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

from .. import work
from ..bench import Measure
from ..contestants import US
from ..timing import Failed, batch, fitting_count
from .calls import warm_up

__all__ = ["MEASURES"]

WORKERS = 2
_OURS = ("cluster", "local")
_ALL = (*_OURS, "plain")


@contextlib.contextmanager
def _cluster() -> Iterator[Any]:
    from distributed import Client, LocalCluster

    options = {"n_workers": WORKERS, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    with LocalCluster(**options) as cluster, Client(cluster) as client:
        yield client


@contextlib.contextmanager
def _pool(contestant: Any, **options: Any) -> Iterator[Any]:
    contestant.define(**options)
    contestant.pool.start_workers(WORKERS)
    try:
        yield contestant.pool
    finally:
        contestant.pool.stop_workers()


def on_dask(
    contestant: Any, calls: int, burst: int, items: int, rounds: int, limit_s: float
) -> dict[str, float]:
    """Blocking no-op calls, a burst of them, a map over tiny items, and 64 MB there and back.

    First on the cluster, then with Dask's own `submit` and `map` on the same one, then in a local pool: never
    two at the same time.
    """
    import numpy

    array = numpy.arange(float(1 << 23))
    found: dict[str, float] = {}

    def measure(key: str, submit: Callable[..., Any], gather: Any, mapped: Any) -> None:
        def go(count: int) -> float:
            began = time.perf_counter()
            values = gather([submit(work.noop) for _ in range(count)])
            took = time.perf_counter() - began
            if values != [None] * count:
                raise Failed(f"wrong results in a burst of {count}")
            return took

        def over(count: int) -> float:
            began = time.perf_counter()
            values = mapped(range(count))
            took = time.perf_counter() - began
            if values != list(range(1, count + 1)):
                raise Failed(f"wrong results of a map over {count} items")
            return took

        warm_up(lambda: submit(work.noop).result())
        found[f"dask.call.{key}"] = batch(lambda: submit(work.noop).result(), None, calls, limit_s)
        count = fitting_count(burst, go(200) / 200, limit_s)
        found[f"dask.burst.{key}"] = go(count) / count
        count = fitting_count(items, over(1_000) / 1_000, limit_s)
        found[f"dask.map.{key}"] = over(count) / count
        times = []
        for _ in range(rounds):
            began = time.perf_counter()
            value = submit(work.echo, array).result()
            times.append(time.perf_counter() - began)
            if value[-1] != array[-1]:
                raise Failed("a wrong array")
        found[f"dask.array.{key}"] = min(times)

    def ours(key: str, pool: Any) -> None:
        measure(
            key,
            lambda function, *args: pool.call[function.__name__](*args),
            lambda futures: [future.result() for future in futures],
            lambda numbers: list(pool.map("increment", numbers)),
        )

    with _cluster() as client:
        with _pool(contestant, engine="dask", client=client) as pool:
            ours("cluster", pool)
        measure(
            "plain",
            lambda function, *args: client.submit(function, *args, pure=False),
            client.gather,
            lambda numbers: client.gather(client.map(work.increment, numbers, pure=False)),
        )
    with _pool(contestant) as pool:
        ours("local", pool)
    return found


MEASURES = [
    Measure(
        "dask",
        on_dask,
        [f"dask.{what}.{key}" for what in ("call", "burst", "map", "array") for key in _ALL],
        who=[US],
        full={"calls": 5_000, "burst": 20_000, "items": 200_000, "rounds": 5, "limit_s": 3.0},
        quick={"calls": 500, "burst": 20_000, "items": 200_000, "rounds": 2, "limit_s": 0.5},
        rounds=3,
    )
]
