"""wpc_magic."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from wpc_magic import WorkerProcedureCall

from .. import work
from ..timing import Failed
from .base import Contestant

_FUNCTIONS = (
    work.noop,
    work.increment,
    work.numbers,
    work.plus_one,
    work.echo,
    work.sample,
    work.total,
    work.write,
    work.pid_after,
    work.nap,
    work.leave,
    work.wait_at,
    work.start_counting,
    work.stop_counting,
)


class Wpc(Contestant):
    """Our own pool; `pool` is for the measures of this contestant only."""

    package = "wpc_magic"
    pool: WorkerProcedureCall

    def define(self, **options: Any) -> None:
        """Create a pool with the functions, without starting it."""
        self.pool = WorkerProcedureCall(**options)
        for function in _FUNCTIONS:
            self.pool.define_worker_function(worker_func=function)

    def open(self, workers: int) -> None:
        self.define()
        self.workers = workers
        self.pool.start_workers(workers)

    def close(self) -> None:
        self.pool.stop_workers()

    def submit(self, function: Callable[..., Any], *args: Any) -> Any:
        return self.pool.call[function.__name__](*args)

    def caller(self, function: Callable[..., Any]) -> Callable[..., Any]:
        procedure = self.pool.call[function.__name__]
        return lambda *args: procedure(*args).result()

    def map(self, function: Callable[[int], int], items: range) -> Sequence[int]:
        return list(self.pool.map(function.__name__, items))

    def chained(self, functions: Sequence[Callable[..., Any]], value: Any) -> Any:
        for function in functions:
            value = self.pool.call[function.__name__](value)
        return value.result()

    def executor(self) -> Any:
        return self.pool.executor()

    def joblib_backend(self) -> tuple[str, dict[str, Any]]:
        import wpc_magic.joblib  # noqa: F401  # which registers it

        return "wpc", {"pool": self.pool}

    def start(self, workers: int) -> float:
        # The functions are defined before the start, as in a notebook.
        self.define()
        began = time.perf_counter()
        self.pool.start_workers(workers)
        answers = [future.result() for future in self.pool.broadcast("noop").values()]
        took = time.perf_counter() - began
        self.pool.stop_workers()
        if answers != [None] * workers:
            raise Failed(f"wrong answers: {answers}")
        return took

    def pids(self) -> list[int]:
        """Return the process ids of the workers."""
        return [future.result() for future in self.pool.broadcast("pid_after", 0).values()]


CONTESTANT = Wpc
