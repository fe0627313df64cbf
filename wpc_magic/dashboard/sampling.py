"""The panel of hot lines: samples while somebody has asked for it, and looks at it.

::

    Start ──> "wpc-dashboard-samples" ── ten times a second ──> control threads of workers
                        │                                              │
                        └── counts <── the stacks of the calls ────────┘
"""

from __future__ import annotations

import linecache
import threading
import weakref
from collections.abc import Callable
from pathlib import PurePath
from typing import Any

import IPython

from wpc_magic.pool.nameless import NAMELESS

from .hot_lines import HotLines

__all__ = ["LONGEST_S", "PERIOD_S", "HotPanel", "shown_file"]

PERIOD_S = 0.1
"""The time between two samples, in seconds."""

LONGEST_S = 600.0
"""After so many seconds sampling ends by itself: a page may be gone without saying so."""

_LONGEST_SOURCE = 160


class HotPanel:
    """Samples a pool, and reads what was counted.

    Parameters
    ----------
    on_end : callable
        Called when sampling has ended by itself, in its thread.
    """

    def __init__(self, on_end: Callable[[], None] = lambda: None) -> None:
        self._on_end = on_end
        self._lock = threading.Lock()
        self._hot: HotLines | None = None  # None: nobody has asked
        self._end: threading.Event | None = None  # of the thread that samples; None: there is none
        self._thread: threading.Thread | None = None  # the latest
        self._sent: dict[str, Any] | None = None

    @property
    def is_sampling(self) -> bool:
        """Whether it samples now."""
        return self._end is not None

    def start(self, pool: Any) -> None:
        """Begin anew; the pool is not kept alive.

        Raises
        ------
        NotRunningError
            If the workers are not running.
        """
        sampler = pool.stack_sampler()
        hot = HotLines()
        with self._lock:
            if self._end is not None:
                self._end.set()
            self._hot, self._end = hot, threading.Event()
            arguments = weakref.ref(pool), sampler, hot, self._end
            self._thread = threading.Thread(
                target=self._run, args=arguments, name="wpc-dashboard-samples", daemon=True
            )
            self._thread.start()

    def stop(self) -> None:
        """End sampling; what was counted stays."""
        with self._lock:
            if self._end is not None:
                self._end.set()
            self._end = None

    def close(self) -> None:
        """End sampling, and wait until its thread has ended."""
        self.stop()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _run(self, pool: Any, sampler: Any, hot: HotLines, end: threading.Event) -> None:
        try:
            for _ in range(round(LONGEST_S / PERIOD_S)):
                if pool() is None or not sampler.request() or end.wait(PERIOD_S):
                    break
                taken = sampler.take()
                with self._lock:
                    for sample in taken:
                        hot.add(sample)
        finally:
            with self._lock:
                ended = self._end is end
                if ended:
                    self._end = None
            if ended:
                self._on_end()

    # -- as a panel -------------------------------------------------------------------------------------

    def forget(self) -> None:
        """Return all of it the next time."""
        self._sent = None

    def read(self, pool: Any) -> dict[str, Any]:
        """Return ``{"hot": ...}``, if something has changed: the samples of each function, and its lines."""
        with self._lock:
            hot = self._hot
            functions = [] if hot is None else hot.rows()
            found = {
                "sampling": self.is_sampling,
                "samples": None if hot is None else hot.samples,
                "functions": functions,
            }
        for function in functions:  # a file may be slow to read: without the lock
            for line in function["lines"]:
                line["file"] = shown_file(line["path"])
                line["source"] = _source(line["path"], line["line"])
        if found == self._sent:
            return {}
        self._sent = found
        return {"hot": found}


def _source(path: str, line: int) -> str:
    if path in NAMELESS:  # a text of a worker is none of this process
        return ""
    linecache.checkcache(path)
    text = linecache.getline(path, line).strip()
    return text if len(text) <= _LONGEST_SOURCE else text[: _LONGEST_SOURCE - 1] + "…"


def shown_file(file: str) -> str:
    """Return how a file is called: a cell by its number, and of a path its end.

    Examples
    --------
    >>> shown_file("/home/me/project/models/fit.py"), shown_file("<stdin>")
    ('models/fit.py', '<stdin>')
    """
    compiler: Any = getattr(IPython.get_ipython(), "compile", None)
    numbers = getattr(compiler, "_filename_map", None)  # as its tracebacks have them
    if isinstance(numbers, dict) and file in numbers:
        return f"Cell In[{numbers[file]}]"
    if file.startswith("<"):
        return file.removeprefix("<ipython-wpc> ")
    return "/".join(PurePath(file).parts[-2:])
