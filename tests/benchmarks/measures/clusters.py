"""The same pool on a Dask cluster of this machine, beside the local one, Dask itself, and Ray."""

from __future__ import annotations

import contextlib
import importlib.util
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from .. import work
from ..bench import Measure
from ..contestants import US
from ..timing import Failed, batch, fitting_count
from .calls import warm_up

__all__ = ["MEASURES"]

WORKERS = 2


class _Sizes(NamedTuple):
    calls: int
    burst: int
    items: int
    rounds: int
    limit_s: float


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


def _measured(
    submit: Callable[..., Any],
    gather: Callable[[list[Any]], Any],
    mapped: Callable[[range], list[int]],
    sizes: _Sizes,
) -> dict[str, float]:
    """Return the times of blocking no-op calls, a burst of them, a map over tiny items, and an array."""
    import numpy

    array = numpy.arange(float(1 << 23))
    calls, burst, items, rounds, limit_s = sizes

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

    def call() -> Any:
        return gather([submit(work.noop)])[0]

    found = {}
    warm_up(call)
    found["call"] = batch(call, None, calls, limit_s)
    count = fitting_count(burst, go(200) / 200, limit_s)
    found["burst"] = go(count) / count
    count = fitting_count(items, over(1_000) / 1_000, limit_s)
    found["map"] = over(count) / count
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        (value,) = gather([submit(work.echo, array)])
        times.append(time.perf_counter() - began)
        if value[-1] != array[-1]:
            raise Failed("a wrong array")
    found["array"] = min(times)
    return found


def _of_pool(pool: Any, sizes: _Sizes) -> dict[str, float]:
    return _measured(
        lambda function, *args: pool.call[function.__name__](*args),
        lambda futures: [future.result() for future in futures],
        lambda numbers: list(pool.map("increment", numbers)),
        sizes,
    )


def _keyed(what: str, by: str, found: dict[str, float]) -> dict[str, float]:
    return {f"{what}.{key}.{by}": value for key, value in found.items()}


def on_dask(contestant: Any, **sizes: Any) -> dict[str, float]:
    """Measure on a cluster, then with Dask's own `submit` and `map` on the same one, then in a local pool.

    Never two at the same time.
    """
    with _cluster() as client:
        with _pool(contestant, engine="dask", client=client) as pool:
            found = _keyed("dask", "cluster", _of_pool(pool, _Sizes(**sizes)))
        plain = _measured(
            lambda function, *args: client.submit(function, *args, pure=False),
            client.gather,
            lambda numbers: client.gather(client.map(work.increment, numbers, pure=False)),
            _Sizes(**sizes),
        )
    found |= _keyed("dask", "plain", plain)
    with _pool(contestant) as pool:
        return found | _keyed("dask", "local", _of_pool(pool, _Sizes(**sizes)))


def on_ray(contestant: Any, **sizes: Any) -> dict[str, float]:
    """Measure with Ray's own tasks, if Ray is installed, and in our pool on a Dask cluster."""
    if importlib.util.find_spec("ray") is None:
        raise Failed("Ray is not installed")
    import ray

    ray.init(num_cpus=WORKERS, include_dashboard=False, log_to_driver=False, logging_level="error")
    try:
        tasks = {each: ray.remote(each) for each in (work.noop, work.echo, work.increment)}
        plain = _measured(
            lambda function, *args: tasks[function].remote(*args),
            ray.get,
            lambda numbers: ray.get([tasks[work.increment].remote(number) for number in numbers]),
            _Sizes(**sizes),
        )
    finally:
        ray.shutdown()
    with _cluster() as client, _pool(contestant, engine="dask", client=client) as pool:
        ours = _of_pool(pool, _Sizes(**sizes))
    return _keyed("ray", "plain", plain) | _keyed("ray", "cluster", ours)


_FULL = {"calls": 5_000, "burst": 20_000, "items": 200_000, "rounds": 5, "limit_s": 3.0}
_QUICK = {"calls": 500, "burst": 20_000, "items": 200_000, "rounds": 2, "limit_s": 0.5}

MEASURES = [
    Measure(
        name,
        run,
        [f"{name}.{what}.{by}" for what in ("call", "burst", "map", "array") for by in beside],
        who=[US],
        full=_FULL,
        quick=_QUICK,
        rounds=3,
    )
    for name, run, beside in (
        ("dask", on_dask, ("cluster", "plain", "local")),
        ("ray", on_ray, ("cluster", "plain")),
    )
]
