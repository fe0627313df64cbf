"""The resource usage of this process and of a pool's workers: memory, descriptors, threads, processes."""

from __future__ import annotations

import gc
import os
import threading
from pathlib import Path
from typing import Any, NamedTuple

import psutil

MB = 1 << 20

# How much later usage may exceed that after the warm-up.
TOLERANCES = {
    "descriptors": 0,
    "threads": 0,
    "memfds": 0,
    "processes": 0,
    "memory": 48 * MB,  # RSS; the allocator keeps fragmented memory of large values
    "most descriptors of a worker": 0,
    "most threads of a worker": 0,
    "most memfds of a worker": 0,
    "most memory of a worker": 32 * MB,  # USS: without shared memory
}


class Usage(NamedTuple):
    """Counts by resource."""

    counts: dict[str, int]

    def more_than(self, before: Usage) -> list[str]:
        """Describe the resources whose growth exceeds the tolerances."""
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


def measure(pool: Any) -> Usage:
    """Measure this process, and the workers of an idle pool."""
    gc.collect()
    workers = [psutil.Process(worker.pid) for worker in pool.snapshot().workers]
    return Usage(
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
    """Count memfds, as descriptors and as mappings."""
    maps = Path(f"/proc/{pid}/maps").read_text().splitlines()
    found = [line.split(maxsplit=5)[4] for line in maps if "/memfd:" in line]
    folder = f"/proc/{pid}/fd"
    for number in os.listdir(folder):
        try:
            link = os.readlink(f"{folder}/{number}")
        except FileNotFoundError:
            continue  # the descriptor of the listing itself
        if link.startswith("/memfd:"):
            found.append(f"descriptor {number}")
    return len(set(found))
