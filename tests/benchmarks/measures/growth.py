"""How the latency of a call scales with functions, workers and queued calls."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from .. import processes, work
from ..bench import Measure
from ..contestants import US
from ..timing import Failed, batch
from .calls import warm_up

__all__ = ["MEASURES"]


def _latency(call: Any, count: int) -> float:
    """Return the time of a call with all processes on one core.

    Otherwise the kernel might place worker and caller on different cores in only one of the two cases, which
    would outweigh the difference to be measured; see `calls.latency`.
    """
    cores = os.sched_getaffinity(0)
    all_processes = [os.getpid(), *processes.descendants()]
    processes.pin(all_processes, {min(cores)})
    warm_up(call)
    found = batch(call, None, count, 5.0)
    processes.pin(all_processes, cores)
    return found


def functions(contestant: Any, many: int, count: int) -> dict[str, float]:
    """A call with one function registered, and with many, from sources of ten each."""
    from wpc_magic import WorkerProcedureCall

    pool = contestant.pool = WorkerProcedureCall()
    pool.define_worker_function(worker_func=work.noop)
    pool.start_workers(2)
    few = _latency(contestant.caller(work.noop), count)
    for first in range(1, many, 10):
        numbers = range(first, min(first + 10, many))
        pool.define_worker_functions("".join(f"def f{n}(x): return x + {n}\n" for n in numbers))
    if pool.call[f"f{many - 1}"](1).result() != many:
        raise Failed("wrong result of the last function")
    found = _latency(contestant.caller(work.noop), count)
    contestant.close()
    return {"functions.few": few, "functions.many": found}


def workers(contestant: Any, many: int, count: int) -> dict[str, float]:
    """A call with two workers, and with many, all of which have replied."""
    contestant.open(2)
    few = _latency(contestant.caller(work.noop), count)
    contestant.pool.resize(many)
    contestant.pool.wait_until_ready(timeout_ms=60_000)
    if len(set(contestant.pids())) != many:
        raise Failed(f"not all of the {many} workers have answered")
    found = _latency(contestant.caller(work.noop), count)
    contestant.close()
    return {"workers.few": few, "workers.many": found}


def queue(contestant: Any, many: int, count: int) -> dict[str, float]:
    """A call to one worker, while no or many calls are queued for the other one, which is blocked."""
    contestant.open(2)
    here = contestant.pool.call.noop.options(worker_id=1)
    there = contestant.pool.call.increment.options(worker_id=2)
    few = _latency(lambda: here().result(), count)
    with tempfile.TemporaryDirectory() as folder:
        gate = Path(folder) / "gate"
        os.mkfifo(gate)
        held = contestant.pool.call.wait_at.options(worker_id=2)(str(gate))
        waiting = [there(number) for number in range(many)]
        found = _latency(lambda: here().result(), count)
        if waiting[0].done():
            raise Failed("the calls did not wait")
        with gate.open("wb"):
            pass
        held.result()
    if [future.result() for future in waiting] != list(range(1, many + 1)):
        raise Failed("wrong results of the calls that waited")
    contestant.close()
    return {"queue.few": few, "queue.many": found}


def _measure(name: str, run: Any, many: int) -> Measure:
    return Measure(
        name,
        run,
        [f"{run.__name__}.few", f"{run.__name__}.many"],
        who=[US],
        full={"many": many, "count": 2_000},
        quick={"many": many, "count": 300},
        rounds=3,
    )


MEASURES = [
    _measure("growth-functions", functions, 1_000),
    _measure("growth-workers", workers, 64),
    _measure("growth-queue", queue, 100_000),
]
