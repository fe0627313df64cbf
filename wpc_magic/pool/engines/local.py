"""The engine of this machine: workers are children of this process."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import StartError
from ..machine import usable_cores
from .engine import Came, Process, WorkerEnvironment
from .process import WorkerProcess

__all__ = ["LocalEngine"]


class LocalEngine:
    """Starts workers on this machine, in the thread that asks for them: it lives as long as they do."""

    name = "local"
    shares_memory = True

    def __init__(self) -> None:
        self.on_leave: Callable[[Process, str], object] = lambda process, why: None  # never called

    copies_blocks = False

    def capacity(self) -> int:
        """Return the number of usable cores."""
        return usable_cores()

    def open(self) -> None:
        """Do nothing: this machine is there."""

    def start(self, environment: WorkerEnvironment, came: Came, replaces: Process | None = None) -> None:
        """Start a process, which takes milliseconds, and hand it over at once."""
        result: WorkerProcess | StartError
        try:
            result = WorkerProcess.start(environ=environment.environ, cwd=environment.cwd)
        except StartError as error:
            result = error
        came(result)

    def differences(self) -> str:
        """Return nothing: there is one machine."""
        return ""

    def give_up_starts(self) -> None:
        """Do nothing: no start waits."""

    def close(self) -> None:
        """Do nothing: nothing is held."""

    def after_fork(self) -> None:
        """Do nothing: nothing is held."""
