"""The engine of this machine: workers are children of this process."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import StartError
from ..machine import usable_cores
from .engine import Came, Process, WorkerEnvironment
from .process import WorkerProcess
from .templates import TemplateStarts

__all__ = ["LocalEngine"]


class LocalEngine:
    """Starts workers on this machine, in the thread that asks for them: it lives as long as they do."""

    name = "local"
    shares_memory = True
    copies_blocks = False

    def __init__(self) -> None:
        self.on_leave: Callable[[Process, str], object] = lambda process, why: None  # never called
        self._templates: TemplateStarts | None = None

    def capacity(self, memory: int = 0) -> int:
        """Return the number of usable cores."""
        return usable_cores()

    def open(self) -> None:
        """Do nothing: this machine is there."""

    def start(self, environment: WorkerEnvironment, came: Came, replaces: Process | None = None) -> None:
        """Start a process, which takes milliseconds, and hand it over at once; or have a template fork it."""
        if environment.start_method == "template":
            if self._templates is None:
                self._templates = TemplateStarts()
            self._templates.start(environment, came)
            return
        result: WorkerProcess | StartError
        try:
            result = WorkerProcess.start(environ=environment.environ, cwd=environment.cwd)
        except StartError as error:
            result = error
        came(result)

    def prepare(self, environment: WorkerEnvironment) -> None:
        """Have the template, if there is one, import what is new."""
        if self._templates is not None and environment.start_method == "template":
            self._templates.start(environment)

    def differences(self) -> str:
        """Return nothing: there is one machine."""
        return ""

    def give_up_starts(self) -> None:
        """End the starts that wait for the template."""
        if self._templates is not None:
            self._templates.give_up()

    def close(self) -> None:
        """End the template."""
        templates, self._templates = self._templates, None
        if templates is not None:
            templates.close()

    def after_fork(self) -> None:
        """Forget the template, in a fork of this process."""
        templates, self._templates = self._templates, None
        if templates is not None:
            templates.after_fork()
