"""What does not know the pool it runs on: an executor's calls, joblib's tasks; and lambdas."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from .. import work
from ..bench import Measure
from ..contestants import NEWER, US
from ..timing import Failed, batch, fitting_count
from .calls import warm_up

__all__ = ["MEASURES"]

_WITH_EXECUTOR = (US, "executor", "loky_pool", "ipyparallel_cluster", "dask_cluster", *NEWER)
_WITH_JOBLIB = (US, "mp_pool", "loky_pool", "ipyparallel_cluster", "dask_cluster")


def _calls(
    submit: Callable[[], Any], prefix: str, count: int, burst: int, limit_s: float
) -> dict[str, float]:
    """Consecutive calls, then many at once; a burst that would take too long has fewer calls."""

    def call() -> Any:
        return submit().result()

    def go(calls: int) -> float:
        began = time.perf_counter()
        values = [future.result() for future in [submit() for _ in range(calls)]]
        took = time.perf_counter() - began
        if values != [None] * calls:
            raise Failed(f"wrong results in a burst of {calls}")
        return took

    warm_up(call)
    found = {f"{prefix}.call": batch(call, None, count, limit_s)}
    go(20)
    calls = fitting_count(burst, go(200) / 200, limit_s)
    return {**found, f"{prefix}.burst": go(calls) / calls, f"{prefix}.burst.calls": calls}


def through_an_executor(contestant: Any, count: int, burst: int, limit_s: float) -> dict[str, float]:
    """No-op calls of a function that can be imported, through `concurrent.futures.Executor`."""
    submit = contestant.executor().submit
    return _calls(lambda: submit(work.noop), "executor", count, burst, limit_s)


def of_lambdas(contestant: Any, count: int, burst: int, limit_s: float) -> dict[str, float]:
    """The same with a lambda; and with one that is made anew for each call, as in a loop."""
    submit = contestant.executor().submit
    noop = lambda: None  # noqa: E731  # that is what is measured
    found = _calls(lambda: submit(noop), "lambda", count, burst, limit_s)
    return found | _calls(lambda: submit(lambda: None), "lambda.anew", count, burst, limit_s)


def through_joblib(contestant: Any, count: int, limit_s: float) -> dict[str, float]:
    """Many tiny tasks of joblib, and one array of 8 MB as an argument of a hundred tasks.

    Both are within ``with Parallel(...)``, so the workers exist. The warm-up is a tenth of the tasks.
    """
    import numpy
    from joblib import Parallel, delayed, parallel_config

    backend, options = contestant.joblib_backend()
    array = numpy.arange(float(1 << 20))
    expected = work.sample(array)

    def timed(parallel: Any, task: Any, argument: Any, value: Any, tasks: int) -> float:
        began = time.perf_counter()
        values = parallel(task(argument) for _ in range(tasks))
        took = time.perf_counter() - began
        if values != [value] * tasks:
            raise Failed(f"wrong results of {tasks} tasks")
        return took

    with parallel_config(backend=backend, **options), Parallel(n_jobs=contestant.workers) as parallel:
        increment, sample = delayed(work.increment), delayed(work.sample)
        tenth = count // 10
        each = timed(parallel, increment, 1, 2, tenth) / tenth
        tasks = max(tenth, fitting_count(count, each, limit_s))
        tiny = timed(parallel, increment, 1, 2, tasks) / tasks
        timed(parallel, sample, array, expected, 10)
        arrays = timed(parallel, sample, array, expected, 100) / 100
    return {"joblib.tasks": tiny, "joblib.tasks.count": tasks, "joblib.array": arrays}


_KEYS = ("call", "burst", "burst.calls")
_FULL = {"count": 5_000, "burst": 20_000, "limit_s": 3.0}
_QUICK = {"count": 500, "burst": 20_000, "limit_s": 0.2}

MEASURES = [
    Measure(
        "executor",
        through_an_executor,
        [f"executor.{key}" for key in _KEYS],
        who=_WITH_EXECUTOR,
        workers=2,
        full=_FULL,
        quick=_QUICK,
    ),
    Measure(
        "lambda",
        of_lambdas,
        [f"{lambdas}.{key}" for lambdas in ("lambda", "lambda.anew") for key in _KEYS],
        who=[
            name for name in _WITH_EXECUTOR if name not in ("executor", "interpreter_pool")
        ],  # they pickle it
        workers=2,
        full=_FULL,
        quick=_QUICK,
    ),
    Measure(
        "joblib",
        through_joblib,
        ["joblib.tasks", "joblib.tasks.count", "joblib.array"],
        who=_WITH_JOBLIB,
        workers=2,
        full={"count": 20_000, "limit_s": 5.0},
        quick={"count": 20_000, "limit_s": 0.5},
    ),
]
