"""Starts of workers by a template, one after another, in a thread of their own: an import takes seconds.

The thread lives as long as the workers do: on Linux they end with the thread that started the template.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from typing import NamedTuple

from ..errors import StartError
from .engine import Came, Note, WorkerEnvironment
from .process import WorkerProcess
from .template import HangsError, OutdatedError, Template, TemplateError

__all__ = ["TemplateStarts"]

_TRIES = 2
"""How often a template that was outdated, or has ended, is replaced by another one for the same start."""


class _Start(NamedTuple):
    environment: WorkerEnvironment
    came: Came | None  # None: it is to get ready only


class TemplateStarts:
    """The template of one engine, and the thread that uses it; they end with `close`.

    Where no template can be had, workers are started as without it, and a note says so.
    """

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[_Start | None] = queue.SimpleQueue()
        self._template: Template | None = None
        self._environ: object = None  # whose template it is
        self._left_out: dict[str, str] = {}  # why, by module
        self._notes: deque[Note] = deque()
        self._lock = threading.Lock()  # of the next two, and of giving up
        self._gave_up = False
        self._has_told = False  # that there is no template
        self._thread = threading.Thread(target=self._run, name="wpc-template", daemon=True)

    def start(self, environment: WorkerEnvironment, came: Came | None = None) -> None:
        """Start a worker as soon as the template has imported what it is to; see `Engine.start`.

        Parameters
        ----------
        environment : WorkerEnvironment
            What the worker inherits.
        came : callable, optional
            Is given the process; None: only get ready.
        """
        if self._thread.ident is None:
            try:
                self._thread.start()
            except RuntimeError as error:
                if came is not None:
                    came(StartError(f"a worker could not be started: {error}"))
                return
        self._waiting.put(_Start(environment, came))

    def give_up(self) -> None:
        """End the starts that wait, and that are under way: each gets a `StartError` soon."""
        with self._lock:
            self._gave_up = True
            if self._template is not None:
                self._template.interrupt()

    def close(self) -> None:
        """End the template, and the thread."""
        self.give_up()
        if self._thread.ident is not None:
            self._waiting.put(None)
            self._thread.join()

    def after_fork(self) -> None:
        """Close everything, in a fork of this process."""
        if self._template is not None:
            self._template.after_fork()

    # -- in the thread ----------------------------------------------------------------------------------

    def _run(self) -> None:
        while (start := self._waiting.get()) is not None:
            if start.came is None:
                self._prepare(start.environment)
            else:
                result = self._started(start.environment)
                while self._notes:
                    start.came(self._notes.popleft())
                start.came(result)
        self._drop()

    def _prepare(self, environment: WorkerEnvironment) -> None:
        if self._template is None or not self._waiting.empty():  # the start that comes does it
            return
        try:
            self._ready(environment)
        except TemplateError:
            self._drop()  # the next start tries again, and tells

    def _started(self, environment: WorkerEnvironment) -> WorkerProcess | StartError:
        why = ""
        for _ in range(_TRIES):
            if self._gave_up:
                return StartError("the pool was stopped")
            try:
                return self._ready(environment).fork(environment.import_s)
            except StartError as error:
                return error
            except OutdatedError:
                self._drop()
                self._left_out.clear()
            except TemplateError as error:
                self._drop()
                why = str(error)
                if isinstance(error, HangsError):
                    break
        if self._gave_up:
            return StartError("the pool was stopped")
        if not self._has_told:
            self._has_told = True
            self._notes.append(Note("template_unavailable", {"reason": why or "files change all the time"}))
        try:
            return WorkerProcess.start(environ=environment.environ, cwd=environment.cwd)
        except StartError as error:
            return error

    def _ready(self, environment: WorkerEnvironment) -> Template:
        """Return a template that has imported everything; what it cannot import is noted, and left out.

        Raises
        ------
        TemplateError
            If there is none.
        """
        if self._environ is not environment.environ:  # the workers are started anew
            self._drop()
            self._environ, self._has_told = environment.environ, False
            self._left_out.clear()
        while True:
            template = self._template or self._new(environment)
            for name in environment.modules:
                if name in template.modules or name in self._left_out:
                    continue
                why, is_spoilt = template.import_module(name, environment.import_s)
                if self._gave_up:
                    raise TemplateError("the pool was stopped")
                if why:
                    self._left_out[name] = why
                    self._notes.append(Note("template_left_out", {"module": name, "reason": why}))
                if is_spoilt:
                    self._drop()
                    break
            else:
                return template

    def _new(self, environment: WorkerEnvironment) -> Template:
        template = Template.start(environment.environ, environment.cwd, environment.path)
        with self._lock:
            self._template = template
            if self._gave_up:
                template.interrupt()
        return template

    def _drop(self) -> None:
        with self._lock:
            template, self._template = self._template, None
        if template is not None:
            template.close()
