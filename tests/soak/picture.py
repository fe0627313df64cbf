"""What this process and the workers of a pool hold: memory, descriptors, threads, processes."""

from __future__ import annotations

import gc
import os
import threading
from pathlib import Path
from typing import Any, NamedTuple

import psutil

MB = 1 << 20

# What a later picture may have more of than the one after the warm-up.
TOLERANCES = {
    "descriptors": 0,
    "threads": 0,
    "memfds": 0,
    "processes": 0,
    "memory": 48 * MB,  # RSS; the allocator keeps what large values have left between small ones
    "most descriptors of a worker": 0,
    "most threads of a worker": 0,
    "most memfds of a worker": 0,
    "most memory of a worker": 32 * MB,  # USS: its own, without what it shares
}


class Picture(NamedTuple):
    """Numbers, by what they count."""

    counts: dict[str, int]

    def more_than(self, before: Picture) -> list[str]:
        """Say what there is more of than the tolerances allow."""
        return [
            f"{name}: {count} and not {before.counts[name]} (at most {TOLERANCES[name]} more)"
            for name, count in self.counts.items()
            if count > before.counts[name] + TOLERANCES[name]
        ]

    def __str__(self) -> str:
        return ", ".join(
            f"{name} {count // MB} MB" if "memory" in name else f"{name} {count}"
            for name, count in self.counts.items()
        )


def take(pool: Any) -> Picture:
    """Look at this process, and at the workers of a pool that has nothing to do."""
    gc.collect()
    workers = [psutil.Process(worker.pid) for worker in pool.snapshot().workers]
    return Picture(
        {
            "descriptors": len(os.listdir("/proc/self/fd")),
            "threads": threading.active_count(),
            "memfds": _memfds(os.getpid()),
            "processes": len(psutil.Process().children(recursive=True)),
            "memory": psutil.Process().memory_info().rss,
            "most descriptors of a worker": max(worker.num_fds() for worker in workers),
            "most threads of a worker": max(worker.num_threads() for worker in workers),
            "most memfds of a worker": max(_memfds(worker.pid) for worker in workers),
            "most memory of a worker": max(worker.memory_full_info().uss for worker in workers),
        }
    )


def _memfds(pid: int) -> int:
    """Count pieces of nameless memory, as descriptors and as mappings."""
    maps = Path(f"/proc/{pid}/maps").read_text().splitlines()
    found = [line.split(maxsplit=5)[4] for line in maps if "/memfd:" in line]
    folder = f"/proc/{pid}/fd"
    for number in os.listdir(folder):
        try:
            link = os.readlink(f"{folder}/{number}")
        except FileNotFoundError:
            continue  # the listing's own
        if link.startswith("/memfd:"):
            found.append(f"descriptor {number}")
    return len(set(found))
