"""A fake pool without workers: a test sets its snapshot, and checks how the dashboard shows it."""

from __future__ import annotations

import dataclasses
import itertools
import threading
import time
import types
import weakref
from collections.abc import Callable, Mapping
from typing import Any

from wpc_magic.pool.core.ended_calls import PoolHistory, WorkerProcess
from wpc_magic.pool.core.events import WorkerEvent
from wpc_magic.pool.core.running_calls import RunningCall
from wpc_magic.pool.core.snapshot import (
    ConstantInfo,
    DependencyInfo,
    FunctionInfo,
    PoolSnapshot,
    ResourceInfo,
    SharedInfo,
    WorkerSnapshot,
)
from wpc_magic.pool.driver.sampling import StackSample
from wpc_magic.pool.histories import RecentCalls
from wpc_magic.pool.inspection import BlockMemory, Holders, WorkerDetails
from wpc_magic.pool.maps.running import RunningMap
from wpc_magic.pool.statistics import FunctionStatistics, PoolStatistics
from wpc_magic.pool.wire.protocol import Described


class FakeClock:
    """A clock that a test advances."""

    def __init__(self, now: float = 1_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class FakeSampler:
    """Answers every request at once, with what its pool has then."""

    def __init__(self, pool: FakePool) -> None:
        self._pool = weakref.ref(pool)
        self._arrived: list[StackSample] = []

    def request(self) -> bool:
        pool = self._pool()
        if pool is None or not pool.is_running:
            return False
        self._arrived += pool.samples
        return True

    def take(self) -> list[StackSample]:
        taken, self._arrived = self._arrived, []
        return taken


class FakePool:
    """The part of `WorkerProcedureCall` that the dashboard uses.

    Attributes
    ----------
    current : PoolSnapshot
        What `snapshot` returns; change it with `change` and `change_worker`.
    measured : int
        How often it was asked to measure the workers.
    requested : list
        The requests that it received.
    polls : int
        How often `snapshot` was called.
    error : Exception or None
        Raised by all requests.
    counted, functions, constants, ended, recent, maps, calls : object
        What `statistics`, the getters, `history`, `recent_calls`, `running_maps` and `running_calls` return.
    blocks, held, queued : object
        What `block_memory`, `holders` and `queued_calls` return.
    runs_with, output : object
        What `worker_details` returns.
    samples : list of StackSample
        What each request of a `stack_sampler` is answered with.
    gate : threading.Event
        While it is not set, requests block.
    """

    def __init__(self, workers: int = 2, name: str = "wpc") -> None:
        self.name = name
        self.current = PoolSnapshot(name, "running" if workers else "stopped")
        self.requested: list[tuple[Any, ...]] = []
        self.polls = 0
        self.measured = 0
        self.error: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.counted: list[FunctionStatistics] = []
        self.functions: list[FunctionInfo] = []
        self.constants: list[ConstantInfo] = []
        self.maps: list[RunningMap] = []
        self.calls: list[RunningCall] = []
        self.blocks = BlockMemory(0, 0, 0, 2**30)
        self.held: dict[str, Holders] = {}
        self.queued: list[tuple[str, str]] = []
        self.runs_with: Described | None = None
        self.output: list[tuple[int | None, str]] = []
        self.samples: list[StackSample] = []
        self.ended = PoolHistory()
        processes = [WorkerProcess(n, n, 4700 + n, time.monotonic()) for n in range(1, workers + 1)]
        self.recent: tuple[Any, ...] = ([], 1, 0.0, processes)
        self.polled = threading.Condition()
        self._events: list[WorkerEvent] = []
        self._listeners: dict[int, Callable[[WorkerEvent], None]] = {}
        self._numbers = itertools.count(1)
        self._fill(workers)

    def _fill(self, count: int) -> None:
        workers = (WorkerSnapshot(n, "ready", 4700 + n) for n in range(1, count + 1))
        self.change(workers=tuple(workers), state="running" if count else "stopped")

    # -- for tests --------------------------------------------------------------------------------------

    def change(self, **fields: Any) -> None:
        self.current = dataclasses.replace(self.current, **fields)

    def change_worker(self, worker_id: int, **fields: Any) -> None:
        workers = (
            worker._replace(**fields) if worker.worker_id == worker_id else worker
            for worker in self.current.workers
        )
        self.change(workers=tuple(workers))

    def emit(self, name: str, worker_id: int = 1, severity: Any = "info", **fields: Any) -> WorkerEvent:
        number = next(self._numbers)
        at = f"2026-01-02T03:04:{number % 60:02d}.000+00:00"
        event = WorkerEvent(f"event-{number:06d}", worker_id, "parent", name, severity, at, **fields)
        self._events.append(event)
        self.change(events=number)
        for listener in list(self._listeners.values()):
            listener(event)
        return event

    def wait_for_polls(self, count: int) -> None:
        """Wait until it was polled so often, counted from now."""
        self.wait_for_total_polls(self.polls + count)

    def wait_for_total_polls(self, count: int) -> None:
        with self.polled:
            assert self.polled.wait_for(lambda: self.polls >= count, timeout=30)

    @property
    def listeners(self) -> int:
        return len(self._listeners)

    # -- for the dashboard ------------------------------------------------------------------------------

    def snapshot(self, *, measure: bool = True) -> PoolSnapshot:
        with self.polled:
            self.polls += 1
            self.measured += measure
            self.polled.notify_all()
        return self.current

    def events(self) -> list[WorkerEvent]:
        return list(self._events)

    def on_worker_event(self, *, listener: Callable[[WorkerEvent], None]) -> int:
        number = next(self._numbers)
        self._listeners[number] = listener
        return number

    def off_worker_event(self, *, listener_id: int) -> None:
        del self._listeners[listener_id]

    def statistics(self) -> PoolStatistics:
        return PoolStatistics(tuple(self.counted))

    def history(self, latest: int | None = None) -> PoolHistory:
        return self.ended

    def recent_calls(self, after: float, most: int | None = None) -> RecentCalls:
        return RecentCalls(*self.recent)

    def stack_sampler(self) -> FakeSampler:
        return FakeSampler(self)

    def running_maps(self) -> list[RunningMap]:
        return self.maps

    def running_calls(self) -> list[RunningCall]:
        return self.calls

    def describe(self, name: str) -> Any:
        info = next((info for info in self.functions if info.name == name), None)
        return info and types.SimpleNamespace(info=info, source=f"def {name}(): ...")

    def get_remote_functions(self) -> list[FunctionInfo]:
        return self.functions

    def get_worker_dependencies(self) -> list[DependencyInfo]:
        return [DependencyInfo("np", "numpy", None, False, 2), DependencyInfo("path", "os", "path", False, 2)]

    def get_worker_constants(self) -> list[ConstantInfo]:
        return self.constants

    def get_worker_resources(self) -> list[ResourceInfo]:
        return [ResourceInfo("model", 2, "load_model()", ("np",))]

    def get_shared_objects(self) -> list[SharedInfo]:
        return [SharedInfo("grid", "array", 2, 80, (10,), "float64")]

    @property
    def is_running(self) -> bool:
        return self.current.state == "running"

    def _record(self, *what: Any) -> None:
        assert self.gate.wait(30)
        self.requested.append(what)
        if self.error is not None:
            raise self.error

    def restart_worker(self, worker_id: int, drain: bool = True) -> None:
        self._record("restart", worker_id, *([] if drain else ["now"]))
        self.change_worker(worker_id, pid=9000 + worker_id, restarts=1)

    def resize(self, count: int) -> None:
        self._record("resize", count)
        self._fill(count)

    def stack(self, worker_id: int) -> str:
        self._record("stack", worker_id)
        return f"the stack of worker {worker_id}"

    def block_memory(self) -> BlockMemory:
        return self.blocks

    def holders(self) -> dict[str, Holders]:
        return self.held

    def differing_constants(self, names: list[str], namespace: Mapping[str, object]) -> list[str]:
        return [name for name in names if name in namespace]

    def queued_calls(self) -> list[tuple[str, str]]:
        return self.queued

    def cancel_queued(self) -> int:
        self._record("cancel_queued")
        return 0

    def worker_details(self, worker_id: int, timeout_ms: int = 1000) -> WorkerDetails:
        self._record("worker", worker_id)
        return WorkerDetails(self.runs_with, self.output)

    def cancel_call(self, call_id: str) -> bool:
        self._record("cancel_call", call_id)
        return True

    def stop_map(self, number: int) -> bool:
        self._record("stop_map", number)
        return True

    def start_workers(self, count: int | None = None) -> None:
        self._record("start", count)
        self._fill(count or 2)

    def stop_workers(self, drain: bool = False) -> None:
        self._record("drain" if drain else "stop")
        self._fill(0)
