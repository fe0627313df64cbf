"""What slots cost the process that has the pool: ``python -m tests.benchmarks.scale [--slots 4 64 1000]``.

The workers are simulated (see `simulated`), so that there may be more than this machine could hold; with
``--dask 8`` they are real ones on a Dask cluster of so many workers of this machine. What counts is processor
time of this process, all its threads together: it says where it saturates, and little else changes it.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from wpc_magic import WorkerProcedureCall

from .simulated import MEGABYTE, SimulatedEngine

__all__ = ["measure"]

SOURCES = {
    "nothing": "def nothing(*args): return None",
    "increment": "def increment(x): return x + 1",
    "megabyte": f"def megabyte(): return bytes({MEGABYTE})",
    "later": "async def later(): return None",
}
ROWS = {
    "start_ms": "start, each slot, ms",
    "memory_kb": "memory of this process, each slot, kB",
    "descriptors": "descriptors of this process, each slot",
    "call_us": "a blocking call, µs",
    "burst_us": "20,000 calls at once, each, µs",
    "coroutines_us": "5,000 calls of a coroutine at once, each, µs",
    "dependent_us": "a call that needs the value of another one, both, µs",
    "item_us": "an item of a map over 200,000, µs",
    "chunks": "… in how many calls",
    "up_ms": "an argument of 1 MB, ms",
    "down_ms": "a value of 1 MB, ms",
    "definition_ms": "a definition, ms",
    "snapshot_ms": "a snapshot, ms",
    "idle_ms": "nothing, each second, ms: heartbeats",
}


def spent(work: Callable[[], object], count: int, rounds: int = 1) -> float:
    """Return the processor time of this process for one of `count`, in seconds; `work` does all of them."""
    gc.collect()
    best = float("inf")
    for _ in range(rounds):
        began = time.process_time()
        work()
        best = min(best, time.process_time() - began)
    return best / count


def resident_bytes() -> int:
    """Return the memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def descriptors() -> int:
    """Return how many descriptors this process has."""
    return len(os.listdir("/proc/self/fd"))


def measure(pool: WorkerProcedureCall, slots: int, quick: bool = False) -> dict[str, float]:
    """Return the rows of `ROWS` for so many slots; the pool is not started yet."""
    calls, items, seconds = (200, 2_000, 0.1) if quick else (20_000, 200_000, 10.0)
    found: dict[str, float] = {}
    for name, source in SOURCES.items():
        pool.define_worker_function(name=name, worker_func=source)
    gc.collect()
    memory, open_before = resident_bytes(), descriptors()
    found["start_ms"] = 1e3 * spent(lambda: pool.start_workers(slots), slots)
    if {worker.health_state for worker in pool.snapshot().workers} != {"ready"}:
        raise AssertionError("not all of them have started")
    found["descriptors"] = round((descriptors() - open_before) / slots, 1)
    wait = threading.Event().wait
    found["idle_ms"] = 1e3 * spent(lambda: wait(seconds), 1) / seconds
    # Else what is spent for a call depends on what else the machine does. In force from the next beat on.
    pool.configure(heartbeat_interval_ms=600_000)
    wait(seconds / 2)

    def burst(name: str, count: int) -> None:
        for future in [pool.call[name]() for _ in range(count)]:
            future.result()

    def dependent() -> None:
        for _ in range(calls // 20):
            pool.call.nothing(pool.call.nothing()).result()

    def one_by_one(count: int) -> None:
        for _ in range(count):
            pool.call.nothing().result()

    def sums() -> None:
        if sum(pool.map("increment", range(items))) != items * (items + 1) // 2:
            raise AssertionError("wrong results")

    burst("nothing", slots), one_by_one(calls // 20), burst("later", slots)
    found["memory_kb"] = (resident_bytes() - memory) / slots / 1024
    found["call_us"] = 1e6 * spent(lambda: one_by_one(calls // 10), calls // 10, 2)
    found["burst_us"] = 1e6 * spent(lambda: burst("nothing", calls), calls, 2)
    found["coroutines_us"] = 1e6 * spent(lambda: burst("later", calls // 4), calls // 4, 2)
    found["dependent_us"] = 1e6 * spent(dependent, calls // 20, 1)
    sums()  # how long it takes is known then
    before = pool.call.nothing().call_id
    sums()
    found["chunks"] = pool.call.nothing().call_id - before - 1
    found["item_us"] = 1e6 * spent(sums, items, 1)
    large, many = bytes(MEGABYTE), calls // 100
    found["up_ms"] = 1e3 * spent(lambda: [pool.call.nothing(large).result() for _ in range(many)], many, 2)
    found["down_ms"] = 1e3 * spent(lambda: [pool.call.megabyte().result() for _ in range(many)], many, 2)
    found["definition_ms"] = 1e3 * spent(
        lambda: pool.define_worker_function(name="more", worker_func="def more(): return 1"), 1
    )
    found["snapshot_ms"] = 1e3 * spent(pool.snapshot, 1, 1)
    return found


@contextlib.contextmanager
def pool_of(dask: int, slots: int) -> Iterator[WorkerProcedureCall]:
    """Yield a pool whose workers are simulated, or on a cluster of so many Dask workers."""
    with contextlib.ExitStack() as stack:
        if dask:
            from tests.pool.engines.clusters import local_cluster

            client = stack.enter_context(local_cluster(dask, slots // dask))
            pool = WorkerProcedureCall(engine="dask", client=client)
        else:
            pool = WorkerProcedureCall()
            pool._driver.parts.engine = SimulatedEngine()
        yield stack.enter_context(pool)


def main() -> None:
    """Measure each number of slots in a process of its own, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.scale", description=__doc__)
    parser.add_argument("--slots", type=int, nargs="+", default=[4, 64, 1000])
    parser.add_argument("--dask", type=int, default=0, metavar="WORKERS", help="on a real cluster of so many")
    parser.add_argument("--quick", action="store_true", help="little of everything")
    parser.add_argument("--json", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.json:
        with pool_of(arguments.dask, arguments.slots[0]) as pool:
            found = measure(pool, arguments.slots[0], arguments.quick)
        sys.stdout.write(json.dumps(found) + "\n")
        return
    columns = []
    for slots in arguments.slots:
        more = ["--dask", str(arguments.dask), *(["--quick"] if arguments.quick else [])]
        command = [sys.executable, "-m", __spec__.name, "--json", "--slots", str(slots), *more]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
        columns.append(json.loads(done.stdout.splitlines()[-1]))
    sys.stdout.write(f"| slots | {' | '.join(map(str, arguments.slots))} |\n|---|{'--:|' * len(columns)}\n")
    for key, title in ROWS.items():
        cells: list[Any] = [f"{column[key]:.3g}" for column in columns]
        sys.stdout.write(f"| {title} | {' | '.join(cells)} |\n")


if __name__ == "__main__":
    main()
