"""How much memory and processor time a process of this machine uses."""

from __future__ import annotations

import os
from collections.abc import Callable

import psutil

__all__ = ["Usage"]

_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


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

    def _measured(self) -> psutil.Process:
        pid = self._pid()
        if self._process is None or self._process.pid != pid:
            self._process = psutil.Process(pid)
        return self._process

    def memory_and_cpu(self) -> tuple[int | None, float | None]:
        """Return its resident memory, in bytes, and its CPU usage since the last time; 100 is one core.

        None if they cannot be measured now.
        """
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
