"""The part of the public interface that writes events to a file, as JSON lines."""

from __future__ import annotations

import json
import logging
import os
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

from .checks import check_whole, shown
from .core.events import WorkerEvent
from .driver.driver import Driver
from .errors import OptionError
from .files import checked_path

__all__ = ["EventFile", "EventLogs"]

_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK  # the last: a pipe is no file


class EventFile:
    """A listener that appends each event to a file, as one line of JSON, and rotates the file.

    The file is open only while a line is written. So nothing is left to be closed, others may rename or
    remove it, and several pools may write to the same one: lines are appended in full.

    Parameters
    ----------
    path : str
        The file.
    max_bytes : int
        How large it may become; 0: it is never rotated.
    backups : int
        How many older files are kept, as ``path.1``, the latest, to ``path.N``; 0: none.

    Raises
    ------
    OSError
        If the file cannot be written to.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write = EventFile(f"{folder}/events.jsonl", 0, 0)
    ...     write(WorkerEvent("event-000001", 1, "parent", "worker_spawned", "info", "2026-01-01T00:00:00Z"))
    ...     print(Path(write.path).read_text()[:57])
    {"event_id": "event-000001", "worker_id": 1, "source": "p
    """

    def __init__(self, path: str, max_bytes: int, backups: int) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._backups = backups
        self._has_warned = False
        os.close(os.open(path, _FLAGS, 0o666))

    def __call__(self, event: WorkerEvent) -> None:
        """Write an event; if that fails, as on a full disk, leave it out, and log that once."""
        line = json.dumps(event.as_dict(), default=repr).encode() + b"\n"
        try:
            self._append(line)
        except OSError as error:
            if not self._has_warned:
                self._has_warned = True
                logging.getLogger("wpc_magic").warning(
                    "events are missing in %s, which cannot be written to: %s", self.path, error.strerror
                )

    def _append(self, line: bytes) -> None:
        fd = os.open(self.path, _FLAGS, 0o666)
        try:
            size = os.fstat(fd).st_size
            if 0 < self._max_bytes < size + len(line) and size:
                os.close(fd)
                fd = -1
                self._rotate()
                fd = os.open(self.path, _FLAGS, 0o666)
                size = 0
            written = os.write(fd, line)
            if written < len(line):  # the disk is full: half a line would spoil the next one, too
                os.ftruncate(fd, size)
                raise OSError(0, "no space left")
        finally:
            if fd >= 0:
                os.close(fd)

    def _rotate(self) -> None:
        if not self._backups:
            os.truncate(self.path, 0)
            return
        names = [self.path, *(f"{self.path}.{number}" for number in range(1, self._backups + 1))]
        for older, newer in zip(names[::-1], names[-2::-1], strict=False):
            try:
                os.replace(newer, older)
            except FileNotFoundError:
                pass


class EventLogs:
    """The methods of a pool that log its events.

    Parameters
    ----------
    driver : Driver
        Does the I/O of the pool.
    """

    _driver: Driver

    @abstractmethod
    def on_worker_event(self, *, listener: Callable[[WorkerEvent], object]) -> int:
        """Add a listener."""

    def log_events(
        self, path: str | os.PathLike[str], *, max_bytes: int = 10_000_000, backups: int = 3
    ) -> int:
        """Write every event from now on to a file, as one line of JSON each.

        A thread of the pool writes it: no call waits for a disk. If it cannot be written to, as when the disk
        is full, events are left out, and one warning is logged.

        Parameters
        ----------
        path : str or path
            The file; what it has is kept. If events are logged to it already, then as is said here.
        max_bytes : int
            How large it may become, before it is renamed to ``path.1``; 0: there is no limit.
        backups : int
            How many older files are kept: ``path.1`` is the latest of them.

        Returns
        -------
        int
            The id that `off_worker_event` takes, which ends it.

        Raises
        ------
        OptionError
            If the file cannot be written to.

        Examples
        --------
        >>> import json, tempfile
        >>> from pathlib import Path
        >>> from wpc_magic.pool import WorkerProcedureCall
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with WorkerProcedureCall() as pool:
        ...         listener_id = pool.log_events(f"{folder}/events.jsonl")
        ...         pool.start_workers(1)
        ...     lines = Path(folder, "events.jsonl").read_text().splitlines()
        ...     json.loads(lines[1])["event_name"]
        'worker_spawned'
        """
        check_whole("max_bytes", max_bytes, 0)
        check_whole("backups", backups, 0)
        full = checked_path(path)
        try:
            listener = EventFile(full, max_bytes, backups)
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            raise OptionError(f"path is no file that can be written to: {shown(path)}: {why}") from None
        before = self.event_logs.get(full)
        if before is not None:
            self._driver.listeners.pop(before, None)
        return self.on_worker_event(listener=listener)

    @property
    def event_logs(self) -> dict[str, int]:
        """The files that events are written to, with the ids that `off_worker_event` takes."""
        listeners: dict[int, Any] = self._driver.listeners
        return {each.path: number for number, each in list(listeners.items()) if isinstance(each, EventFile)}
