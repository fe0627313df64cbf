"""Readings of memory and processor, gathered into numbers that are calm to look at."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

from wpc_magic.pool.mind.snapshot import PoolSnapshot, WorkerSnapshot

__all__ = ["PERIOD_S", "Meter", "Reading", "memory_text"]

PERIOD_S = 1.0
"""How often the numbers change, in seconds."""

_QUIET_PERCENT = 1.5  # a worker that only answers pings is idle


class Reading(NamedTuple):
    """What is shown of one worker."""

    memory: str
    cpu: int | None


NO_READING = Reading("", None)


@dataclasses.dataclass(slots=True)
class _Needle:
    """One worker's, for as long as it is the same process."""

    pid: int
    last_at: float
    memory_bytes: float = 0.0
    weighted: float = 0.0
    seconds: float = 0.0
    shown: Reading = NO_READING


class Meter:
    """Averages what snapshots say, and shows it once a `PERIOD_S`.

    A snapshot tells the processor use since the snapshot before, which at ten a second is 0 or 100 more often
    than what it is on average. And memory that moves by a few pages is no news.

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
        self._needles: dict[int, _Needle] = {}
        self._shown_at: float | None = None

    def read(self, snapshot: PoolSnapshot, now: float) -> Mapping[int, Reading]:
        """Take the readings of a snapshot, and return what to show now, by worker.

        Parameters
        ----------
        snapshot : PoolSnapshot
            What to read.
        now : float
            When it was taken, in seconds.
        """
        due = self._shown_at is None or not 0 <= now - self._shown_at < PERIOD_S
        if due:
            self._shown_at = now
        needles = {}
        for worker in snapshot.workers:
            if worker.pid is not None:
                needles[worker.worker_id] = self._needle(worker, worker.pid, now, due)
        self._needles = needles
        return {worker_id: needle.shown for worker_id, needle in needles.items()}

    def _needle(self, worker: WorkerSnapshot, pid: int, now: float, due: bool) -> _Needle:
        needle = self._needles.get(worker.worker_id)
        if needle is None or needle.pid != pid:
            needle = _Needle(pid, now)
            due = True  # the old process's numbers must not stand beside the new one
        elif worker.cpu_percent is not None:
            passed = max(now - needle.last_at, 0.0)
            needle.weighted += worker.cpu_percent * passed
            needle.seconds += passed
            needle.last_at = now
        if due:
            self._show(needle, worker)
        return needle

    @staticmethod
    def _show(needle: _Needle, worker: WorkerSnapshot) -> None:
        memory, cpu = needle.shown
        if worker.memory_bytes is None:
            memory = ""
        elif abs(worker.memory_bytes - needle.memory_bytes) > max(2**19, 0.01 * needle.memory_bytes):
            needle.memory_bytes = worker.memory_bytes
            memory = memory_text(worker.memory_bytes)
        if worker.cpu_percent is None:
            cpu = None
        elif needle.seconds:
            percent = needle.weighted / needle.seconds
            cpu = 0 if percent < _QUIET_PERCENT else round(percent)
            needle.weighted = needle.seconds = 0.0
        needle.shown = Reading(memory, cpu)


def memory_text(nbytes: float) -> str:
    """Return an amount of memory in three digits at most.

    Examples
    --------
    >>> memory_text(48.4 * 2**20), memory_text(1.53 * 2**30)
    ('48 MB', '1.5 GB')
    """
    megabytes = nbytes / 2**20
    return f"{megabytes:.0f} MB" if megabytes < 999.5 else f"{megabytes / 1024:.1f} GB"
