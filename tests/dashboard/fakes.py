"""A pool that is only a picture: a test paints it, and sees what the dashboard makes of it."""

from __future__ import annotations

import dataclasses
import itertools
import threading
from collections.abc import Callable
from typing import Any

from wpc_magic.pool.mind.events import WorkerEvent
from wpc_magic.pool.mind.snapshot import PoolSnapshot, WorkerSnapshot


class FakeClock:
    """Time that passes when a test says so."""

    def __init__(self, now: float = 1_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def pass_(self, seconds: float) -> None:
        self.now += seconds


class FakePool:
    """What the dashboard uses of `WorkerProcedureCall`.

    Attributes
    ----------
    picture : PoolSnapshot
        What `snapshot` returns; change it with `paint` and `paint_worker`.
    did : list
        What it was asked to do.
    looks : int
        How often it was looked at.
    error : Exception or None
        What it raises instead of doing anything.
    gate : threading.Event
        Held closed, it makes the pool wait before it does anything.
    """

    def __init__(self, workers: int = 2, name: str = "wpc") -> None:
        self.name = name
        self.picture = PoolSnapshot(name, "running" if workers else "stopped")
        self.did: list[tuple[Any, ...]] = []
        self.looks = 0
        self.error: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.looked = threading.Condition()
        self._events: list[WorkerEvent] = []
        self._listeners: dict[int, Callable[[WorkerEvent], None]] = {}
        self._numbers = itertools.count(1)
        self._fill(workers)

    def _fill(self, count: int) -> None:
        fresh = (WorkerSnapshot(n, "ready", 4700 + n) for n in range(1, count + 1))
        self.paint(workers=tuple(fresh), state="running" if count else "stopped")

    # -- what a test does -------------------------------------------------------------------------------

    def paint(self, **fields: Any) -> None:
        self.picture = dataclasses.replace(self.picture, **fields)

    def paint_worker(self, worker_id: int, **fields: Any) -> None:
        workers = (
            dataclasses.replace(worker, **fields) if worker.worker_id == worker_id else worker
            for worker in self.picture.workers
        )
        self.paint(workers=tuple(workers))

    def happen(self, name: str, worker_id: int = 1, severity: Any = "info", **fields: Any) -> WorkerEvent:
        number = next(self._numbers)
        at = f"2026-01-02T03:04:{number % 60:02d}.000+00:00"
        event = WorkerEvent(f"event-{number:06d}", worker_id, "parent", name, severity, at, **fields)
        self._events.append(event)
        self.paint(events=number)
        for listener in list(self._listeners.values()):
            listener(event)
        return event

    def wait_for_looks(self, count: int) -> None:
        """Wait until it has been looked at so often, counted from now."""
        self.wait_for_looks_in_all(self.looks + count)

    def wait_for_looks_in_all(self, count: int) -> None:
        with self.looked:
            assert self.looked.wait_for(lambda: self.looks >= count, timeout=30)

    @property
    def listeners(self) -> int:
        return len(self._listeners)

    # -- what the dashboard does ------------------------------------------------------------------------

    def snapshot(self) -> PoolSnapshot:
        with self.looked:
            self.looks += 1
            self.looked.notify_all()
        return self.picture

    def events(self) -> list[WorkerEvent]:
        return list(self._events)

    def on_worker_event(self, *, listener: Callable[[WorkerEvent], None]) -> int:
        number = next(self._numbers)
        self._listeners[number] = listener
        return number

    def off_worker_event(self, *, listener_id: int) -> None:
        del self._listeners[listener_id]

    @property
    def is_running(self) -> bool:
        return self.picture.state == "running"

    def _note(self, *what: Any) -> None:
        assert self.gate.wait(30)
        self.did.append(what)
        if self.error is not None:
            raise self.error

    def restart_worker(self, worker_id: int) -> None:
        self._note("restart", worker_id)
        self.paint_worker(worker_id, pid=9000 + worker_id, restarts=1)

    def resize(self, count: int) -> None:
        self._note("resize", count)
        self._fill(count)

    def start_workers(self, count: int | None = None) -> None:
        self._note("start", count)
        self._fill(count or 2)

    def stop_workers(self) -> None:
        self._note("stop")
        self._fill(0)
