"""One process for each contestant, which isolates what it starts, breaks, or prints."""

from __future__ import annotations

import contextlib
import importlib
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any

from . import processes
from .contestants import NEWER
from .timing import Failed

__all__ = ["ROOT", "Host"]

ROOT = Path(__file__).parents[2]


class Host:
    """Controls the process of a contestant.

    Parameters
    ----------
    name : str
        The contestant's module in `contestants`.
    limit_s : float
        The timeout of a reply, after which the process and its descendants are killed.
    python : str
        The interpreter.
    """

    def __init__(self, name: str, limit_s: float, python: str = sys.executable) -> None:
        self._limit_s = limit_s
        # Closed by `close`. The output of a contestant must not mix with the table.
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._connection, theirs = Pipe()
        # In its own session: Ctrl-C reaches only the run, which then stops the host.
        self._process = subprocess.Popen(
            [python, "-m", __name__, name, str(theirs.fileno())],
            cwd=ROOT,
            env=_environment(name),
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )
        theirs.close()
        self.is_running = True
        try:
            self.version = self.ask("version")
        except Failed:
            self.close()
            raise

    def ask(self, what: str, *args: Any, limit_s: float | None = None) -> Any:
        """Send a request to the host, and return its reply.

        Raises
        ------
        Failed
            If the request failed or timed out; after a timeout the host is closed.
        """
        limit_s = self._limit_s if limit_s is None else limit_s
        try:
            self._connection.send((what, args))
            if not self._connection.poll(limit_s):
                self.close()
                raise Failed(f"no answer within {limit_s:.0f} s")
            good, reply = self._connection.recv()
        except (OSError, EOFError):
            self.close()
            raise Failed("its process died") from None
        if not good:
            raise Failed(reply)
        return reply

    def close(self) -> None:
        """Kill the host and its descendants."""
        if not self.is_running:
            return
        self.is_running = False
        processes.end([*processes.descendants(self._process.pid), self._process.pid])
        self._process.wait()
        self._connection.close()
        self._log.close()


def _environment(name: str) -> dict[str, str] | None:
    """Return what is different where workers are interpreters, which do not begin in this folder."""
    return {**os.environ, "PYTHONPATH": str(ROOT)} if name in NEWER else None


def _serve(name: str, connection: Connection) -> None:
    contestant: Any = None

    def handle(what: str, args: tuple[Any, ...]) -> Any:
        nonlocal contestant
        if what == "version":
            module = importlib.import_module(f"{__package__}.contestants.{name}")
            contestant = module.CONTESTANT()
            return contestant.version()
        if what == "open":
            return contestant.open(*args)
        if what == "close":
            return contestant.close()
        module_name, function, options = args
        result = getattr(importlib.import_module(module_name), function)(contestant, **options)
        if not isinstance(result, Mapping):
            raise TypeError(f"{function} returned {result!r}")
        return dict(result)

    while True:
        try:
            what, args = connection.recv()
        except EOFError:
            break
        try:
            reply = True, handle(what, args)
        except BaseException as error:
            traceback.print_exc()
            reply = False, _described(error)
        connection.send(reply)
    if contestant is not None:
        with contextlib.suppress(Exception):
            contestant.close()


def _described(error: BaseException) -> str:
    if isinstance(error, Failed):
        return str(error)
    if isinstance(error, ImportError):
        return f"n/a: {error}"
    lines = str(error).splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]:.120}"


if __name__ == "__main__":
    # Classes of this module would be pickled as those of `__main__`; only `Failed` is pickled, from
    # elsewhere.
    _serve(sys.argv[1], Connection(int(sys.argv[2])))
    sys.stdout.flush()
    os._exit(0)  # even if a contestant has left threads
