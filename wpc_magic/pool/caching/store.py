"""Results on disk, in the store of `joblib.Memory`: several processes may use one folder at a time.

A result is what a worker has sent: its pickle, and its large buffers, which are mapped when they are read
again. joblib writes a file under another name first, and so it is there as a whole or not at all; what is
damaged all the same does not have the sum that it was stored with, and is not found.
"""

from __future__ import annotations

import functools
import os
import shutil
import threading
import time
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .checks import check_installed

__all__ = ["ResultStore", "StoredResults", "default_folder"]

_MAPPED = 1 << 24  # bytes of a file from which on it is mapped: each mapping keeps a descriptor
_FILE = "output.pkl"  # as joblib calls it


class StoredResults(NamedTuple):
    """What is stored of one function."""

    entries: int
    size: int


def default_folder() -> str:
    """Return the folder of results, if the options name none."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(base, "wpc_magic", "results")


class ResultStore:
    """The results in a folder.

    Parameters
    ----------
    folder : str
        The folder; it is made when something is stored.
    limit : int
        How many bytes it may hold. What was used least recently goes first.

    Raises
    ------
    OptionError
        If joblib is not installed.
    """

    def __init__(self, folder: str, limit: int) -> None:
        check_installed()
        folder = os.path.abspath(os.path.expanduser(folder))
        self.folder = os.path.join(folder, "joblib")
        self.limit = limit
        self._lock = threading.Lock()
        self._unchecked = limit  # bytes that were stored since the limit was checked

    @functools.cached_property
    def _backend(self) -> Any:  # it makes the folder
        from joblib import Memory

        return Memory(os.path.dirname(self.folder), verbose=0).store_backend

    @functools.cached_property
    def _mapping_backend(self) -> Any:
        from joblib import Memory

        return Memory(os.path.dirname(self.folder), verbose=0, mmap_mode="c").store_backend

    def find(self, function: str, key: str) -> tuple[bytes, list[Any]] | None:
        """Return a stored pickle and its buffers; None: it is not there, or not what was stored."""
        path = os.path.join(self.folder, function, key, _FILE)
        try:
            size = os.stat(path).st_size
            backend = self._mapping_backend if size >= _MAPPED else self._backend
            total, body, buffers = backend.load_item([function, key], verbose=0)
            if total != _sum(body, buffers):
                return None
            # So that what is used stays: whether reading does the same is up to the system.
            os.utime(path, (time.time(), os.stat(path).st_mtime))
            return body, buffers
        except Exception:  # whatever a damaged file makes of unpickling
            return None

    def keep(self, function: str, key: str, body: Any, buffers: Sequence[Any]) -> None:
        """Store a pickle and its buffers; if that is not possible, joblib warns of it."""
        views = [memoryview(each).cast("B") for each in buffers]
        size = len(body) + sum(each.nbytes for each in views)
        if size > self.limit:
            return
        stored = bytes(body), [_storable(each) for each in views]
        self._backend.dump_item([function, key], (_sum(*stored), *stored), verbose=0)
        with self._lock:
            self._unchecked += size + 4096
            is_due = self._unchecked > self.limit // 16
            if is_due:
                self._unchecked = 0
        if is_due:
            self._backend.enforce_store_limits(self.limit)

    def stored(self) -> dict[str, StoredResults]:
        """Return what is stored, by the name of the function."""
        found: dict[str, StoredResults] = {}
        for folder in sorted(Path(self.folder).glob("*")):
            sizes = [_size(each) for each in folder.glob(f"*/{_FILE}")]
            if sizes:
                found[folder.name] = StoredResults(len(sizes), sum(sizes))
        return found

    def clear(self, functions: Iterable[str]) -> None:
        """Remove what is stored of functions."""
        for name in functions:
            shutil.rmtree(os.path.join(self.folder, name), ignore_errors=True)


def _sum(body: Any, buffers: Iterable[Any]) -> int:
    total = zlib.crc32(body)
    for each in buffers:
        total = zlib.crc32(each, total)
    return total


def _storable(view: memoryview) -> Any:
    """Return a buffer as joblib stores it without a copy, where there is NumPy."""
    try:
        import numpy as np
    except ImportError:
        return bytes(view)
    return np.frombuffer(view, np.uint8)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # another process has removed it
        return 0
