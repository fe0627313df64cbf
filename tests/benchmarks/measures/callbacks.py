"""Calls that nobody waits for by `result`: callbacks, `as_completed` and `wait`."""

from __future__ import annotations

import concurrent.futures
import threading
import time
from collections.abc import Callable
from typing import Any

from .. import work
from ..bench import Measure
from ..contestants import NAMES, NEWER, US
from ..timing import Failed, fitting_count

__all__ = ["MEASURES"]

_PATIENCE_S = 30.0


def callbacks(contestant: Any, count: int, burst: int, limit_s: float) -> dict[str, float]:
    """From a no-op call until its callback runs, one at a time; the caller's processor time; then a burst."""
    called = threading.Semaphore(0)
    ends: list[float] = []

    def callback(_: Any) -> None:
        ends.append(time.perf_counter())
        called.release()

    def go(calls: int) -> float:
        """Return the time until the last of many callbacks runs."""
        ends.clear()
        began = time.perf_counter()
        for _ in range(calls):
            contestant.submit_with(callback, work.noop)
        for _ in range(calls):
            if not called.acquire(timeout=_PATIENCE_S):
                raise Failed(f"{len(ends)} of {calls} callbacks have run")
        return ends[-1] - began

    times: list[float] = []
    for _ in range(20):
        go(1)
    began, used = time.perf_counter(), time.process_time()
    while len(times) < count and (len(times) < 10 or time.perf_counter() - began < limit_s):
        times.append(go(1))
    used = (time.process_time() - used) / len(times)
    calls = fitting_count(burst, go(200) / 200, limit_s)
    return {
        "callbacks.call": sorted(times)[len(times) // 2],
        "callbacks.cpu": used,
        "callbacks.burst": go(calls) / calls,
        "callbacks.burst.calls": calls,
    }


def many(contestant: Any, burst: int, limit_s: float) -> dict[str, float]:
    """A burst of no-op calls, submitted and gone through by `as_completed`, then waited for by `wait`."""

    def waited(futures: list[Any]) -> Any:
        return concurrent.futures.wait(futures, timeout=_PATIENCE_S).done

    def completed(futures: list[Any]) -> Any:
        return concurrent.futures.as_completed(futures, timeout=_PATIENCE_S)

    def go(way: Callable[[list[Any]], Any], calls: int) -> float:
        began = time.perf_counter()
        values = [future.result() for future in way([contestant.submit(work.noop) for _ in range(calls)])]
        took = time.perf_counter() - began
        if values != [None] * calls:
            raise Failed(f"wrong results in a burst of {calls}")
        return took

    found = {}
    for key, way in (("as_completed", completed), ("wait", waited)):
        go(way, 20)
        calls = fitting_count(burst, go(way, 200) / 200, limit_s)
        found |= {key: go(way, calls) / calls, f"{key}.calls": calls}
    return found


_OF_CONCURRENT_FUTURES = (US, "executor", "loky_pool", "pebble_pool", *NEWER)

MEASURES = [
    Measure(
        "callbacks",
        callbacks,
        ["callbacks.call", "callbacks.cpu", "callbacks.burst", "callbacks.burst.calls"],
        who=[name for name in NAMES if name != "limit"],
        workers=2,
        full={"count": 5_000, "burst": 20_000, "limit_s": 3.0},
        quick={"count": 500, "burst": 20_000, "limit_s": 0.2},
    ),
    Measure(
        "as-completed",
        many,
        ["as_completed", "as_completed.calls", "wait", "wait.calls"],
        who=_OF_CONCURRENT_FUTURES,
        workers=2,
        full={"burst": 20_000, "limit_s": 3.0},
        quick={"burst": 20_000, "limit_s": 0.3},
    ),
]
