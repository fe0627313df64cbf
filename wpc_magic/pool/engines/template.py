"""The pool's end of a template process, which forks workers that have imported their modules already.

The workers are children of this process all the same (see `worker.sibling`): the template can be thrown away
at any time, and its end is not theirs.
"""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any, cast

from ..errors import StartError
from ..wire import template as wire
from ..wire.anonymous_file import anonymous_file
from .child import Child, python_command
from .process import WorkerProcess

__all__ = ["HangsError", "OutdatedError", "Template", "TemplateError"]


class TemplateError(Exception):
    """The template cannot do what it is asked for; the text says why. It is to be closed."""


class OutdatedError(TemplateError):
    """It has imported a file that was edited since then."""


class HangsError(TemplateError):
    """It has not answered in time."""


class Template:
    """A process that imports modules, and forks workers. `start` makes one.

    `close` may be called by any thread, the rest by one thread.

    Attributes
    ----------
    modules : set of str
        What it has imported.
    """

    def __init__(self, child: Child, sock: socket.socket, lifeline: int) -> None:
        self.modules: set[str] = set()
        self._child = child
        self._sock = sock
        self._lifeline = lifeline

    @classmethod
    def start(cls, environ: Mapping[str, str], cwd: str, path: list[str]) -> Template:
        """Start a template, and return without waiting for it.

        On Linux it is killed when the thread that calls this ends, and so are its workers.

        Parameters
        ----------
        environ : mapping
            Its complete environment, and that of the workers.
        cwd : str
            Their working directory.
        path : list of str
            The ``sys.path`` with which modules are imported.

        Raises
        ------
        TemplateError
            If it cannot be started.
        """
        try:
            with ExitStack() as undo:
                child, sock, lifeline = cls._start(undo, environ, cwd)
                undo.pop_all()
        except (OSError, ValueError, StartError) as error:
            raise TemplateError(f"it could not be started: {error}") from error
        template = cls(child, sock, lifeline)
        try:
            template._send(wire.Begin(path))
        except TemplateError:
            template.close()
            raise
        return template

    @classmethod
    def _start(
        cls, undo: ExitStack, environ: Mapping[str, str], cwd: str
    ) -> tuple[Child, socket.socket, int]:
        # Packets, so that descriptors come with the message that they belong to.
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        undo.callback(ours.close)
        with ExitStack() as ends, theirs:
            theirs.setblocking(True)
            lifeline_end, lifeline = os.pipe()
            ends.callback(os.close, lifeline_end)
            undo.callback(os.close, lifeline)
            written = [anonymous_file(0, "wpc-template") for _ in range(2)]
            for fd in written:
                ends.callback(os.close, fd)
            passed = theirs.fileno(), lifeline_end
            process = subprocess.Popen(
                python_command("wpc_magic.pool.worker.template", *passed, os.getpid()),
                stdin=subprocess.DEVNULL,
                stdout=written[0],
                stderr=written[1],
                pass_fds=passed,
                start_new_session=True,
                cwd=cwd,
                env=environ,
            )
        process.returncode = 0  # as for a worker
        return Child(process.pid), ours, lifeline

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._child.pid

    def import_module(self, name: str, seconds: float) -> wire.Imported:
        """Have it import a module.

        Parameters
        ----------
        name : str
            The module's full name.
        seconds : float
            How long it may take.

        Returns
        -------
        Imported
            Whether it has; and else why that has to be left to the workers, and whether the template is to be
            closed.
        """
        try:
            self._send(wire.Import(name))
            answer = self._receive(seconds)
        except TimeoutError:
            return wire.Imported(f"its import has not ended after {seconds:g} s", True)
        except TemplateError:
            return wire.Imported(f"its import has ended the process: {self._ended()}", True)
        if not answer.why_not:
            self.modules.add(name)
        return cast("wire.Imported", answer)

    def fork(self, seconds: float) -> WorkerProcess:
        """Return a new worker.

        Parameters
        ----------
        seconds : float
            How long it may take: milliseconds, unless the template has just been started.

        Raises
        ------
        OutdatedError
            If a file was edited after it had been imported.
        HangsError
            If it does not answer in time.
        TemplateError
            If it cannot fork, or has ended.
        StartError
            If this process has no descriptor left for a worker.
        """
        failure: list[TemplateError] = []

        def launch(passed: Sequence[int], stdout: int, stderr: int) -> int:
            try:
                return self._launch([*passed, stdout, stderr], seconds)
            except TemplateError as error:
                failure.append(error)
                raise

        try:
            return WorkerProcess.start(environ={}, launch=launch)
        except StartError:
            if failure:
                raise failure[0] from None
            raise

    def _launch(self, fds: list[int], seconds: float) -> int:
        self._send(wire.Fork(), fds)
        try:
            answer = self._receive(seconds)
        except TimeoutError:
            raise HangsError(f"it has not answered for {seconds:g} s") from None
        match answer:
            case wire.Forked(pid):
                return int(pid)
            case wire.Outdated(path):
                raise OutdatedError(f"{path} was edited")
            case _:
                raise TemplateError(answer.why)

    def _send(self, message: object, fds: Sequence[int] = ()) -> None:
        try:
            wire.send(self._sock, message, fds)
        except OSError as error:
            raise TemplateError(f"it has ended: {error}") from error

    def _receive(self, seconds: float) -> Any:
        try:
            self._sock.settimeout(seconds)
            answer, _ = wire.receive(self._sock)
        except TimeoutError:
            raise
        except (OSError, EOFError) as error:
            raise TemplateError("it has ended") from error
        return answer

    def _ended(self) -> str:
        """Return how it has ended."""
        self._child.end()
        exitcode = self._child.poll()
        return "it is unknown how" if exitcode is None else f"exit code {exitcode}"

    def interrupt(self) -> None:
        """Kill it, so that whoever waits for it does not any more. In any thread."""
        self._child.kill()

    def after_fork(self) -> None:
        """Close everything, in a fork of this process."""
        self._child.after_fork()
        self._close()

    def close(self) -> None:
        """End it. Its workers go on."""
        self._child.end()
        self._close()

    def _close(self) -> None:
        self._child.close_sentinel()
        self._sock.close()
        fd, self._lifeline = self._lifeline, -1
        if fd >= 0:
            os.close(fd)
