"""How much memory and processor time a process of this machine uses."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import psutil

__all__ = ["Usage"]

_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
_TICKS_PER_S = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


class Usage:
    """Measures one process.

    Parameters
    ----------
    pid : callable
        Returns its process id, which may become another one while it starts.
    """

    def __init__(self, pid: Callable[[], int]) -> None:
        self._pid = pid
        self._process: psutil.Process | None = None
        self._last: tuple[int, int, float] | None = None  # its process id, ticks of processor time, and when

    def _measured(self) -> psutil.Process:
        pid = self._pid()
        if self._process is None or self._process.pid != pid:
            self._process = psutil.Process(pid)
        return self._process

    def memory_and_cpu(self) -> tuple[int | None, float | None]:
        """Return its resident memory, in bytes, and its CPU usage since the last time; 100 is one core.

        None if they cannot be measured now.
        """
        pid, now = self._pid(), time.monotonic()
        try:
            # One file has both. A dashboard asks for all workers each second, and psutil takes five times
            # as long.
            with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
                fields = file.read().rpartition(b")")[2].split()
        except FileNotFoundError:  # it has exited; or a system without /proc
            return self._by_psutil()
        except OSError:  # no file descriptor is left
            return None, None
        ticks = int(fields[11]) + int(fields[12])  # user, system
        last, self._last = self._last, (pid, ticks, now)
        percent = 0.0
        if last is not None and last[0] == pid and now > last[2]:
            percent = 100 * (ticks - last[1]) / _TICKS_PER_S / (now - last[2])
        return int(fields[21]) * _PAGE, percent

    def _by_psutil(self) -> tuple[int | None, float | None]:
        try:
            process = self._measured()
            with process.oneshot():
                return process.memory_info().rss, process.cpu_percent(None)
        except (psutil.Error, OSError):  # it has exited; or no file descriptor is left
            return None, None

    def cpu_s(self) -> float:
        """Return how much processor time it has used, with children that have ended, in seconds.

        0.0 if it cannot be measured now.
        """
        try:
            return sum(self._measured().cpu_times()[:4])  # of itself and its children: user, system
        except (psutil.Error, OSError):  # it has exited; or no file descriptor is left
            return 0.0

    def private_memory(self) -> int | None:
        """Return its private memory, in bytes: without shared blocks and files.

        None if it cannot be measured now.
        """
        try:
            with open(f"/proc/{self._pid()}/statm", "rb") as file:
                resident, shared = file.read().split()[1:3]
            return (int(resident) - int(shared)) * _PAGE
        except FileNotFoundError:  # a system without /proc
            return self.memory_and_cpu()[0]
        except OSError:  # no file descriptor is left
            return None

    def status(self) -> str:
        """Return what the system says that it does: ``"its process is sleeping"``; empty if unknown."""
        try:
            return f"its process is {psutil.Process(self._pid()).status()}"
        except psutil.Error:
            return "its process is gone"
        except OSError:  # no file descriptor is left
            return ""
