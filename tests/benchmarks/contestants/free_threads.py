"""The standard library's `ThreadPoolExecutor`, in a Python without the global interpreter lock."""

from __future__ import annotations

import platform
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from .. import work
from .executor import Executor


class FreeThreads(Executor):
    """Its workers are threads of the caller's process: nothing is pickled, and a crash ends everything."""

    make: Callable[[int], Any] = ThreadPoolExecutor
    workers_are_threads = True
    identify = staticmethod(work.thread_after)

    def version(self) -> str:
        return f"CPython {platform.python_version()}, free-threaded"


CONTESTANT = FreeThreads
