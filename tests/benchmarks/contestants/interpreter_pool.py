"""The standard library's `InterpreterPoolExecutor`, of Python 3.14."""

from __future__ import annotations

from collections.abc import Callable
from concurrent import futures
from typing import Any

from .. import work
from .executor import Executor


def _make(workers: int) -> Any:
    return futures.InterpreterPoolExecutor(workers)  # type: ignore[attr-defined]  # newer than ours


class InterpreterPool(Executor):
    """Its workers are interpreters in threads of the caller's process: a crash ends everything."""

    make: Callable[[int], Any] = staticmethod(_make)
    workers_are_threads = True
    identify = staticmethod(work.thread_after)


CONTESTANT = InterpreterPool
