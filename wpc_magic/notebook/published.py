"""The pools of a kernel, as a small file beside its connection file: what the Jupyter server reads of them.

There is no port and no message: a kernel that is busy is seen all the same. Only the user may read the file.
Nothing else is in it than what `PoolSnapshot` says: of the notebook's own pool, which comes first, and of
each other one that has workers.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import json
import os
import stat
import threading
import time
import weakref
from pathlib import Path
from typing import Any

import psutil

from wpc_magic.pool.live import live_pools

__all__ = ["PublishedPool", "PublishedPools", "published_path", "read_published"]

_PREFIX = "wpc-"
_INTERVAL_S = 2.0
_MAX_BYTES = 1_000_000
_MAX_POOLS = 50  # in a file
_LEEWAY_S = 1.0  # of when a process was started


def published_path(connection_file: str) -> Path:
    """Return where the pools of a kernel are published, given its connection file.

    Examples
    --------
    >>> str(published_path("/run/jupyter/kernel-7a.json"))
    '/run/jupyter/wpc-kernel-7a.json'
    """
    path = Path(connection_file)
    return path.with_name(_PREFIX + path.name)


def read_published(path: Path) -> dict[str, Any] | None:
    """Return what a kernel has published; None: nothing, or it has ended, or the file is not the user's."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        about = os.fstat(fd)
        if not stat.S_ISREG(about.st_mode) or about.st_uid != os.getuid():
            return None
        text = os.read(fd, _MAX_BYTES)
    finally:
        os.close(fd)
    try:
        found = json.loads(text)
        is_its_process = _is_process(found["pid"], found["started"])
    except (ValueError, TypeError, LookupError):
        return None
    return found if is_its_process and isinstance(found.get("pools"), list) else None


def _is_process(pid: int, started: float) -> bool:
    """Whether that process runs; another one may have its number by now."""
    try:
        return abs(psutil.Process(pid).create_time() - started) < _LEEWAY_S
    except psutil.Error:
        return False


class PublishedPool:
    """Writes the file of one kernel when what it says has changed, until `close`, or the end of the process.

    Parameters
    ----------
    pool : WorkerProcedureCall
        The pool.
    connection_file : str
        The connection file of the kernel.
    """

    def __init__(self, pool: Any, connection_file: str) -> None:
        self._pool = weakref.ref(pool)
        self._path = published_path(connection_file)
        self._pid = os.getpid()
        self._started = psutil.Process().create_time()
        self._written: Any = None
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def install(self) -> None:
        """Write the file, and go on in a thread."""
        self._remove_stale()
        self._publish()
        self._thread = threading.Thread(target=self._run, name="wpc-published", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Remove the file. In a fork, nothing is done: it is that of another process."""
        if os.getpid() != self._pid:
            return
        self._closed.set()
        if self._thread is not None:
            self._thread.join(_INTERVAL_S)
        with contextlib.suppress(OSError):
            self._path.unlink()

    def _run(self) -> None:
        while not self._closed.wait(_INTERVAL_S):
            self._publish()

    def _publish(self) -> None:
        try:
            snapshots = self._snapshots()
            if snapshots != self._written:
                self._write(snapshots)
                self._written = snapshots
        except Exception:
            pass  # a full disk, or a pool that has failed: the server then shows what was written last

    def _snapshots(self) -> list[Any]:
        """Return what is to be written: of the pool, and of others of this process that have workers."""
        own = self._pool()
        if own is None:
            return []
        others = [each for each in live_pools() if vars(each) is not vars(own) and each.is_running]
        return [_steady(pool.snapshot()) for pool in (own, *others[: _MAX_POOLS - 1])]

    def _write(self, snapshots: list[Any]) -> None:
        content = {
            "pid": self._pid,
            "started": self._started,
            "written": time.time(),
            "pools": [snapshot.as_dict() for snapshot in snapshots],
        }
        temporary = self._path.with_suffix(".new")
        temporary.unlink(missing_ok=True)
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(fd, "w", encoding="utf-8") as file:
            json.dump(content, file)
        os.replace(temporary, self._path)

    def _remove_stale(self) -> None:
        """Remove the files of kernels that were killed, and could not do so themselves."""
        for path in self._path.parent.glob(f"{_PREFIX}*.json"):
            with contextlib.suppress(OSError, ValueError, TypeError, LookupError):
                found = json.loads(path.read_bytes())
                if not _is_process(found["pid"], found["started"]):
                    path.unlink()


def _steady(snapshot: Any) -> Any:
    """Return a snapshot without processor times: these change always, and the file says what happens."""
    workers = tuple(each._replace(cpu_percent=None) for each in snapshot.workers)
    return dataclasses.replace(snapshot, workers=workers)


class PublishedPools:
    """Publishes the pool of a shell, if it is that of a kernel which has a connection file.

    Parameters
    ----------
    shell : InteractiveShell
        The shell.
    pool : WorkerProcedureCall
        Its pool.
    """

    def __init__(self, shell: Any, pool: Any) -> None:
        path = _connection_file(shell)
        self._published = PublishedPool(pool, path) if path else None

    def install(self) -> None:
        """Publish it, until the process exits."""
        if self._published is not None:
            self._published.install()
            atexit.register(self._published.close)

    def uninstall(self) -> None:
        """Publish it no longer."""
        if self._published is not None:
            atexit.unregister(self._published.close)
            self._published.close()


def _connection_file(shell: Any) -> str:
    app = getattr(getattr(shell, "kernel", None), "parent", None)
    path = getattr(app, "abs_connection_file", "")
    return path if isinstance(path, str) and os.path.isfile(path) else ""
