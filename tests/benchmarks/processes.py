"""Process statistics of the kernel: memory, processor time, wake-ups. Linux only.

What runs in hosts needs the standard library only: some of them are other Pythons, without our packages.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
from collections.abc import Collection, Iterable
from pathlib import Path

__all__ = ["adopt_orphans", "cpu_s", "descendants", "end", "pin", "pss", "uss", "wakeups"]


def descendants(pid: int | None = None) -> list[int]:
    """Return the descendants of a process."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has exited
            # The name of the program, which is in parentheses, may have any characters.
            parent = int(path.read_text(errors="replace").rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(path.parent.name))
    found = list(children.get(os.getpid() if pid is None else pid, ()))
    for each in found:  # which grows meanwhile
        found += children.get(each, ())
    return found


def pss(pids: Iterable[int]) -> int:
    """Return the memory of processes in bytes; memory that they share counts once."""
    return sum(_rollup(pid, "Pss") for pid in pids)


def uss(pid: int) -> int:
    """Return the memory that would be released if the process exited, in bytes."""
    return _rollup(pid, "Private_Clean") + _rollup(pid, "Private_Dirty")


def _rollup(pid: int, field: str) -> int:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.search(rf"^{field}: +(\d+) kB", text, re.MULTILINE)[1]) * 1024


def cpu_s(pids: Iterable[int]) -> float:
    """Return the processor time of all threads of processes, in seconds; exact, not in ticks of 10 ms."""
    return sum(int(text.split()[0]) for text in _of_threads(pids, "schedstat")) / 1e9


def wakeups(pids: Iterable[int]) -> int:
    """Return the number of voluntary context switches of all threads of processes."""
    found = (
        re.search(r"^voluntary_ctxt_switches:\s+(\d+)", t, re.MULTILINE) for t in _of_threads(pids, "status")
    )
    return sum(int(match[1]) for match in found)


def _of_threads(pids: Iterable[int], file: str) -> list[str]:
    texts = []
    for pid in pids:
        for task in _threads(pid):
            with contextlib.suppress(OSError):  # it has exited
                texts.append((task / file).read_text())
    return texts


def _threads(pid: int) -> list[Path]:
    try:
        return list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:  # the process has exited
        return []


def pin(pids: Iterable[int], cores: Collection[int]) -> None:
    """Pin all threads of processes to some cores."""
    for pid in pids:
        for task in _threads(pid):
            with contextlib.suppress(OSError):  # it has exited
                os.sched_setaffinity(int(task.name), cores)


def adopt_orphans() -> None:
    """Become the reaper of orphaned descendants, so that they can be found and killed."""
    with contextlib.suppress(OSError, AttributeError):  # not Linux
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER


def end(pids: Iterable[int]) -> None:
    """Kill processes that this one has started, and reap its own children."""
    import psutil

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
