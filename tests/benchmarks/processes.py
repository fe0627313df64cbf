"""What the kernel knows of processes: memory, processor time, wake-ups. Linux only."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
from collections.abc import Collection, Iterable
from pathlib import Path

import psutil

__all__ = ["adopt_orphans", "cpu_s", "descendants", "end", "pin", "pss", "uss", "wakeups"]


def descendants(pid: int | None = None) -> list[int]:
    """Return the processes under one, without itself."""
    try:
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def pss(pids: Iterable[int]) -> int:
    """Return the memory of processes in bytes; what several of them share counts once in all."""
    return sum(_rollup(pid, "Pss") for pid in pids)


def uss(pid: int) -> int:
    """Return what would be free without the process, in bytes."""
    return _rollup(pid, "Private_Clean") + _rollup(pid, "Private_Dirty")


def _rollup(pid: int, field: str) -> int:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.search(rf"^{field}: +(\d+) kB", text, re.MULTILINE)[1]) * 1024


def cpu_s(pids: Iterable[int]) -> float:
    """Return the processor time of processes, all threads, in seconds: exact, not in ticks of 10 ms."""
    return sum(int(text.split()[0]) for text in _of_threads(pids, "schedstat")) / 1e9


def wakeups(pids: Iterable[int]) -> int:
    """Return how many times threads of the processes have gone to sleep by themselves."""
    found = (
        re.search(r"^voluntary_ctxt_switches:\s+(\d+)", t, re.MULTILINE) for t in _of_threads(pids, "status")
    )
    return sum(int(match[1]) for match in found)


def _of_threads(pids: Iterable[int], file: str) -> list[str]:
    texts = []
    for pid in pids:
        for task in _threads(pid):
            with contextlib.suppress(OSError):  # it has ended
                texts.append((task / file).read_text())
    return texts


def _threads(pid: int) -> list[Path]:
    try:
        return list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:  # the process has ended
        return []


def pin(pids: Iterable[int], cores: Collection[int]) -> None:
    """Have all threads of processes run on some cores only."""
    for pid in pids:
        for task in _threads(pid):
            with contextlib.suppress(OSError):  # it has ended
                os.sched_setaffinity(int(task.name), cores)


def adopt_orphans() -> None:
    """Become the parent of descendants that lose theirs, so that they can be found and ended."""
    with contextlib.suppress(OSError, AttributeError):  # not Linux
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER


def end(pids: Iterable[int]) -> None:
    """End processes that this one has started, and collect what is left of its own children."""
    processes = []
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            process.kill()
            processes.append(process)
    psutil.wait_procs(processes, timeout=5)
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
