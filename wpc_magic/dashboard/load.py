"""Throughput, queue and memory over time: samples at even intervals, of the last minutes; pure.

A sample says what was true when it was taken, and of what counts up, how much a second since the last one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TypedDict

from wpc_magic.pool.core.snapshot import PoolSnapshot

__all__ = ["KEPT_S", "SAMPLE_S", "LoadSample", "LoadSeries", "MemoryRow"]

SAMPLE_S = 1.0
"""How far apart samples are, in seconds; further if nobody takes any."""

KEPT_S = 300.0
"""How far back they go, in seconds."""


class LoadSample(TypedDict):
    """The pool at one time."""

    at: float  # in seconds of the epoch
    queued: int
    in_flight: int
    busy: int  # workers that run something
    workers: int
    rate: float  # calls and items that have ended, a second
    failed: float  # those of them that have failed, a second
    blocks: int  # bytes of shared memory in use, for large arguments


class MemoryRow(TypedDict):
    """The memory of one worker's process, for a line beside its row."""

    worker: int
    pid: int
    peak: int  # bytes, of those below
    bytes: list[int]  # one for each sample at which it was known, the latest last


class LoadSeries:
    """The samples of one pool.

    Examples
    --------
    >>> series = LoadSeries()
    >>> for second, calls in enumerate([0, 10, 30]):
    ...     series.add(PoolSnapshot("wpc", "running", calls=calls, queued=5), 100.0 + second)
    True
    True
    True
    >>> [(sample["at"], sample["rate"], sample["queued"]) for sample in series.samples()]
    [(100.0, 0.0, 5), (101.0, 10.0, 5), (102.0, 20.0, 5)]
    """

    def __init__(self) -> None:
        self._samples: deque[LoadSample] = deque(maxlen=round(KEPT_S / SAMPLE_S))
        self._memory: dict[int, tuple[int, deque[int]]] = {}  # by worker: its process, and the samples
        self._last = 0.0, 0, 0  # when, and how many had ended and failed

    def add(self, snapshot: PoolSnapshot, now: float, blocks: Callable[[], int] = int) -> bool:
        """Take a sample if it is time for one; return whether it was.

        Parameters
        ----------
        snapshot : PoolSnapshot
            The pool.
        now : float
            When that was taken, in seconds of the epoch.
        blocks : callable
            Returns how much shared memory is in use; asked if it is time.
        """
        last, ended_before, failed_before = self._last
        passed = now - last
        if 0 <= passed < 0.95 * SAMPLE_S:
            return False
        ended = snapshot.calls + snapshot.items
        is_first = not self._samples or passed < 0  # somebody has set the clock
        self._last = now, ended, snapshot.failed
        self._samples.append(
            LoadSample(
                at=round(now, 2),
                queued=snapshot.queued,
                in_flight=snapshot.in_flight,
                busy=sum(worker.current_call is not None for worker in snapshot.workers),
                workers=len(snapshot.workers),
                rate=0.0 if is_first else _rate(ended - ended_before, passed),
                failed=0.0 if is_first else _rate(snapshot.failed - failed_before, passed),
                blocks=blocks(),
            )
        )
        memory = {}
        for worker in snapshot.workers:
            if worker.pid is None or worker.memory_bytes is None:
                continue
            pid, seen = self._memory.get(worker.worker_id, (0, None))
            if seen is None or pid != worker.pid:
                seen = deque(maxlen=self._samples.maxlen)
            seen.append(worker.memory_bytes)
            memory[worker.worker_id] = worker.pid, seen
        self._memory = memory
        return True

    def samples(self, after: float = 0.0) -> list[LoadSample]:
        """Return the samples that were taken after a time, the latest last."""
        return [sample for sample in self._samples if sample["at"] > after]

    def memory(self, latest: int = 60) -> list[MemoryRow]:
        """Return how large the processes of the workers were at the latest samples, by worker."""
        rows = []
        for worker, (pid, seen) in sorted(self._memory.items()):
            shown = list(seen)[-latest:]
            rows.append(MemoryRow(worker=worker, pid=pid, peak=max(shown), bytes=shown))
        return rows


def _rate(count: int, seconds: float) -> float:
    """Return how many a second, in three digits."""
    return float(f"{max(0, count) / seconds:.3g}")
