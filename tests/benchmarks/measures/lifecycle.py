"""Start, restart and idle cost of workers."""

from __future__ import annotations

import os
import statistics
import time
from typing import Any

from .. import processes, work
from ..bench import Measure
from ..contestants import US
from ..timing import Failed

__all__ = ["MEASURES"]

_WARM = ["warm.spawn", "warm.template", "warm.spare"]


def start(contestant: Any, workers: int) -> dict[str, float]:
    """From the start until every worker has replied, after a first start that compiles the bytecode."""
    if not contestant.workers:
        contestant.start(1)
        contestant.workers = 1
    return {"start": contestant.start(workers)}


def crash(contestant: Any, count: int) -> dict[str, float]:
    """From the call that crashes a worker until its slot has replied again; no backoff is before that."""
    return {"crash": _crash(contestant, count, "")}


def warm(contestant: Any, count: int) -> dict[str, float]:
    """The same with imports of NumPy and matplotlib: new interpreters, from a template, with a spare."""
    imports = "import matplotlib.pyplot, numpy\ndef imports(): pass"
    ways: dict[str, dict[str, Any]] = {
        "spawn": {},
        "template": {"start_method": "template"},
        "spare": {"spare_workers": 1},
    }
    return {f"warm.{way}": _crash(contestant, count, imports, **options) for way, options in ways.items()}


def _crash(contestant: Any, count: int, source: str, **options: Any) -> float:
    contestant.define(**options)
    pool = contestant.pool
    if source:
        pool.define_worker_functions(source)
    pool.start_workers(2)
    leave = pool.call.leave.options(worker_id=1)
    pid = pool.call.pid_after.options(worker_id=1)
    times = []
    before = pid(0).result()
    for _ in range(count):
        while pool.snapshot().spare_workers < pool.options.spare_workers:
            time.sleep(0.05)  # noqa: TID251 - one that is not ready is no spare
        began = time.perf_counter()
        failure = leave().exception()
        after = pid(0).result()
        times.append(time.perf_counter() - began)
        if failure is None or after == before:
            raise Failed(f"the worker did not die: {failure!r}")
        before = after
    contestant.close()
    return statistics.median(times)


def idle_memory(contestant: Any) -> dict[str, float]:
    """The unshared memory (USS) of an idle worker, after its first calls."""
    contestant.open(2)
    contestant.pool.call.noop().result()
    found = [processes.uss(pid) for pid in contestant.pids()]
    contestant.close()
    return {"uss": statistics.median(found)}


def idle_cpu(contestant: Any, seconds: float) -> dict[str, float]:
    """The processor time of an idle pool in all its processes, for 10 s; the caller sleeps meanwhile."""
    contestant.open(2)
    contestant.caller(work.noop)()
    time.sleep(0.5)  # noqa: TID251 - until the work after the start is done
    pids = [os.getpid(), *processes.descendants()]
    before = processes.cpu_s(pids)
    time.sleep(seconds)  # noqa: TID251 - it is the measure
    used = (processes.cpu_s(pids) - before) * 10 / seconds
    contestant.close()
    return {"idle": used}


MEASURES = [
    Measure("start", start, ["start"], full={"workers": 4}, quick={"workers": 4}),
    Measure("crash", crash, ["crash"], who=[US], full={"count": 10}, quick={"count": 3}),
    Measure("warm", warm, _WARM, who=[US], full={"count": 10}, quick={"count": 3}),
    Measure("memory", idle_memory, ["uss"], who=[US]),
    Measure("idle", idle_cpu, ["idle"], who=[US], full={"seconds": 10.0}, quick={"seconds": 1.5}, rounds=3),
]
