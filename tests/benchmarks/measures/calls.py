"""Calls: one at a time, awaited, in a burst, and alongside a slow one."""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from typing import Any

from .. import processes, work
from ..bench import Measure
from ..contestants import NAMES, US
from ..timing import Failed, batch, fitting_count

__all__ = ["ONE_WORKER", "OWN", "TWO_WORKERS", "warm_up"]


def warm_up(call: Any, count: int = 100, limit_s: float = 0.1) -> None:
    """Make calls that are not timed."""
    batch(call, None, count, limit_s)


def latency(contestant: Any, count: int, limit_s: float) -> dict[str, float]:
    """Consecutive blocking no-op calls; on the cores that the kernel chooses for the two processes.

    The placement matters more than the difference between most pools: on one core a wake-up is a context
    switch, on two it has to wake an idle core, which costs tens of microseconds in a virtual machine. The
    kernel keeps a placement for a while. So the same is measured with the workers pinned to another core than
    the caller, and to the same one.
    """
    call = contestant.caller(work.noop)
    found = {}
    cores = sorted(os.sched_getaffinity(0))
    placements = {"call": None, "call.apart": {cores[-1]}, "call.together": {cores[0]}}
    try:
        for key, workers in placements.items():
            if workers is not None:
                processes.pin([os.getpid()], workers if contestant.workers_are_threads else {cores[0]})
                os.sched_setaffinity(0, {cores[0]})  # the thread that calls
                processes.pin(processes.descendants(), workers)
            warm_up(call)
            found[key] = batch(call, None, count, limit_s)
    finally:
        processes.pin([os.getpid(), *processes.descendants()], set(cores))
    return found


def burst(contestant: Any, count: int, limit_s: float) -> dict[str, float]:
    """Submit many no-op calls at once, then wait for all of them.

    The warm-up is a burst of 200, which also shows how many fit into the limit.
    """

    def go(calls: int) -> float:
        began = time.perf_counter()
        values = contestant.results([contestant.submit(work.noop) for _ in range(calls)])
        took = time.perf_counter() - began
        if values != [None] * calls:
            raise Failed(f"wrong results in a burst of {calls}")
        return took

    go(20)
    calls = fitting_count(count, go(200) / 200, limit_s)
    return {"burst": go(calls) / calls, "burst.calls": calls}


def awaited(contestant: Any, count: int) -> dict[str, float]:
    """Consecutive awaited no-op calls, in batches that alternate with as many blocking ones."""
    contestant.open(1)
    procedure = contestant.pool.call.noop
    call = contestant.caller(work.noop)

    async def one_after_another() -> list[float]:
        times = []
        for _ in range(count // 4):
            began = time.perf_counter()
            value = await procedure()
            times.append(time.perf_counter() - began)
            if value is not None:
                raise Failed(f"wrong result: {value!r}")
        return times

    found: list[float] = []
    blocking: list[float] = []
    with asyncio.Runner() as runner:
        warm_up(call)
        runner.run(one_after_another())
        for _ in range(4):
            found += runner.run(one_after_another())
            blocking.append(batch(call, None, count // 4, 5.0))
    contestant.close()
    return {"awaited": statistics.median(found), "awaited.blocking": statistics.median(blocking)}


def fairness(contestant: Any) -> dict[str, float]:
    """One call of 1 s, then 40 of 1 ms, of the same function, on two workers: until the 40 are done.

    The function was fast before, so that an estimate of its duration is wrong.
    """
    contestant.open(2)
    nap = contestant.pool.call.nap
    for future in [nap(0.001) for _ in range(40)]:
        future.result()
    slow = nap(1.0)
    began = time.perf_counter()
    values = [future.result() for future in [nap(0.001) for _ in range(40)]]
    took = time.perf_counter() - began
    if values != [0.001] * 40 or slow.result() != 1.0:
        raise Failed("wrong results")
    contestant.close()
    return {"fairness": took}


ONE_WORKER = [
    Measure(
        "call",
        latency,
        ["call", "call.apart", "call.together"],
        workers=1,
        full={"count": 5_000, "limit_s": 3.0},
        quick={"count": 500, "limit_s": 0.2},
    )
]
TWO_WORKERS = [
    Measure(
        "burst",
        burst,
        ["burst", "burst.calls"],
        who=[name for name in NAMES if name != "limit"],
        workers=2,
        full={"count": 20_000, "limit_s": 8.0},
        quick={"count": 20_000, "limit_s": 0.3},
    )
]
OWN = [
    Measure(
        "awaited",
        awaited,
        ["awaited", "awaited.blocking"],
        who=[US],
        full={"count": 4_000},
        quick={"count": 1_000},
    ),
    Measure("fairness", fairness, ["fairness"], who=[US]),
]
