"""Smooths readings of memory and processor use, so that the displayed numbers do not flicker."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

from wpc_magic.pool.core.snapshot import PoolSnapshot, WorkerSnapshot

__all__ = ["PERIOD_S", "Meter", "Reading", "memory_text"]

PERIOD_S = 1.0
"""How often the displayed numbers change, in seconds."""

_IDLE_PERCENT = 1.5  # a worker that only answers pings is idle


class Reading(NamedTuple):
    """The displayed numbers of one worker."""

    memory: str
    cpu: int | None


NO_READING = Reading("", None)


@dataclasses.dataclass(slots=True)
class _Gauge:
    """The state of one worker, as long as its process is the same."""

    pid: int
    last_at: float
    memory_bytes: float = 0.0
    weighted: float = 0.0
    seconds: float = 0.0
    shown: Reading = NO_READING


class Meter:
    """Averages the readings of snapshots, and updates the displayed numbers once per `PERIOD_S`.

    A snapshot has the processor use since the previous snapshot, which at ten a second is 0 or 100 more often
    than its average. And memory that changes by a few pages is not worth an update.

    Examples
    --------
    >>> meter = Meter()
    >>> for at, percent in [(0.0, 0.0), (0.5, 0.0), (1.0, 100.0)]:
    ...     worker = WorkerSnapshot(1, "ready", 4711, memory_bytes=48 * 2**20, cpu_percent=percent)
    ...     shown = meter.read(PoolSnapshot("wpc", "running", (worker,)), at)
    >>> shown[1]
    Reading(memory='48 MB', cpu=50)
    """

    def __init__(self) -> None:
        self._gauges: dict[int, _Gauge] = {}
        self._processes: list[tuple[int, int | None]] = []
        self._readings: Mapping[int, Reading] = {}
        self._shown_at: float | None = None

    def is_due(self, now: float) -> bool:
        """Return whether the displayed numbers change with the next snapshot."""
        return self._shown_at is None or not 0 <= now - self._shown_at < PERIOD_S

    def read(self, snapshot: PoolSnapshot, now: float, is_measured: bool = True) -> Mapping[int, Reading]:
        """Add the readings of a snapshot, and return the numbers to show now, by worker.

        Parameters
        ----------
        snapshot : PoolSnapshot
            The snapshot.
        now : float
            When it was taken, in seconds.
        is_measured : bool
            Whether it has readings of its own, and not those of the last one.
        """
        due = self.is_due(now)
        processes = [(worker.worker_id, worker.pid) for worker in snapshot.workers]
        if not due and not is_measured and processes == self._processes:
            return self._readings
        self._processes = processes
        if due:
            self._shown_at = now
        gauges = {}
        for worker in snapshot.workers:
            if worker.pid is not None:
                gauges[worker.worker_id] = self._gauge_of(worker, worker.pid, now, due, is_measured)
        self._gauges = gauges
        self._readings = {worker_id: gauge.shown for worker_id, gauge in gauges.items()}
        return self._readings

    def _gauge_of(self, worker: WorkerSnapshot, pid: int, now: float, due: bool, is_measured: bool) -> _Gauge:
        gauge = self._gauges.get(worker.worker_id)
        if gauge is None or gauge.pid != pid:
            gauge = _Gauge(pid, now)
            due = True  # the old process's numbers must not be shown for the new one
        elif worker.cpu_percent is not None and is_measured:
            elapsed = max(now - gauge.last_at, 0.0)
            gauge.weighted += worker.cpu_percent * elapsed
            gauge.seconds += elapsed
            gauge.last_at = now
        if due:
            self._update(gauge, worker)
        return gauge

    @staticmethod
    def _update(gauge: _Gauge, worker: WorkerSnapshot) -> None:
        memory, cpu = gauge.shown
        if worker.memory_bytes is None:
            memory = ""
        elif abs(worker.memory_bytes - gauge.memory_bytes) > max(2**19, 0.01 * gauge.memory_bytes):
            gauge.memory_bytes = worker.memory_bytes
            memory = memory_text(worker.memory_bytes)
        if worker.cpu_percent is None:
            cpu = None
        elif gauge.seconds:
            percent = gauge.weighted / gauge.seconds
            cpu = 0 if percent < _IDLE_PERCENT else round(percent)
            gauge.weighted = gauge.seconds = 0.0
        gauge.shown = Reading(memory, cpu)


def memory_text(nbytes: float) -> str:
    """Return an amount of memory with three digits at most.

    Examples
    --------
    >>> memory_text(48.4 * 2**20), memory_text(1.53 * 2**30)
    ('48 MB', '1.5 GB')
    """
    megabytes = nbytes / 2**20
    return f"{megabytes:.0f} MB" if megabytes < 999.5 else f"{megabytes / 1024:.1f} GB"
