"""A worker process of an executor, for those who look behind the scenes of `concurrent.futures`."""

from __future__ import annotations

import contextlib

import psutil

__all__ = ["ProcessOfExecutor"]


class ProcessOfExecutor:
    """What is used of a `multiprocessing.Process` of the executor in the standard library.

    Parameters
    ----------
    pid : int
        Its process id.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._process: psutil.Process | None = None
        with contextlib.suppress(psutil.NoSuchProcess):
            self._process = psutil.Process(pid)

    def is_alive(self) -> bool:
        """Return whether it runs."""
        return self._process is not None and self._process.is_running()

    def terminate(self) -> None:
        """Send it SIGTERM."""
        if self._process is not None:
            with contextlib.suppress(psutil.NoSuchProcess):
                self._process.terminate()

    def kill(self) -> None:
        """Send it SIGKILL."""
        if self._process is not None:
            with contextlib.suppress(psutil.NoSuchProcess):
                self._process.kill()

    def join(self, timeout: float | None = None) -> None:
        """Wait until it has exited, at most for so many seconds."""
        if self._process is not None:
            psutil.wait_procs([self._process], timeout)
