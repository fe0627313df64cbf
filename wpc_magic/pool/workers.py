"""The workers of a pool, as its users start, change and stop them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from typing import Any, overload

from .checks import check_callable, check_flag, check_workers
from .driver import Driver, Surroundings
from .errors import NestedCallError, OptionError, PoolStateError, PoolStoppedError, StartError
from .hands.texts import OutputText, write_out
from .mind.events import WorkerEvent
from .mind.snapshot import WorkerHealth
from .options import PoolOptions, check_count

__all__ = ["Workers", "usable_cores"]

# What BLAS and OpenMP libraries look at when they are loaded.
_THREAD_LIMITS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "BLIS_NUM_THREADS",
)


class Workers:
    """What a pool does with its workers.

    Parameters
    ----------
    driver : Driver
        The hands of the pool.
    """

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    # -- options ----------------------------------------------------------------------------------------

    @property
    def options(self) -> PoolOptions:
        """The options in force."""
        return self._driver.core.state.options

    def configure(self, **options: Any) -> None:
        """Change options; they hold for what happens from now on.

        Parameters
        ----------
        **options
            Of `PoolOptions`.

        Raises
        ------
        OptionError
            If an option is unknown, or does not take that value; then nothing changes.
        """
        self._driver.configure(self.options.replace(options))

    @property
    def output_sink(self) -> Callable[[OutputText], object] | None:
        """Who is given what functions print; None: it goes where this process prints."""
        sink = self._driver.texts.sink
        return None if sink is write_out else sink

    @output_sink.setter
    def output_sink(self, sink: Callable[[OutputText], object] | None) -> None:
        self._driver.texts.sink = write_out if sink is None else check_callable("output_sink", sink)

    # -- the workers ------------------------------------------------------------------------------------

    @property
    def is_running(self) -> bool:
        """Whether the workers are running, or about to."""
        return self._driver.core.state.phase in ("starting", "running")

    @property
    def worker_count(self) -> int:
        """How many slots there are."""
        return len(self._driver.core.state.slots) if self.is_running else 0

    def start_workers(self, count: int | None = None, **options: Any) -> None:
        """Start the workers, and return when they are ready.

        Parameters
        ----------
        count : int, optional
            How many; by default, as many as there are usable cores.
        **options
            Of `PoolOptions`, as `configure` takes them.

        Raises
        ------
        PoolStateError
            If they are running already.
        StartError
            If none of them could be started.
        PoolStoppedError
            If the pool was stopped meanwhile.
        """
        self._begin_start(count, options)
        self._started(self.wait_until_ready)

    def _begin_start(self, count: int | None, options: dict[str, Any]) -> None:
        self._driver.check()
        if sys.platform == "win32":
            raise StartError("worker processes need Linux or macOS; on Windows, run Python in WSL")
        number = check_workers("count", count) if count is not None else usable_cores()
        phase = self._driver.core.state.phase
        if phase != "stopped":  # also the driver looks; but options must not change first
            raise PoolStateError(f"the workers are {phase} already")
        self.configure(**options)
        self._driver.start(number, self._surroundings(number))

    def _started(self, wait: Callable[[], None]) -> None:
        try:
            wait()
        except StartError:
            self.stop_workers()
            raise

    def _surroundings(self, count: int) -> Surroundings:
        threads = self.options.threads_per_worker
        limit = str(threads or max(1, usable_cores() // count))
        # What the user has set counts for workers too, unless the option says otherwise.
        given = {name: limit for name in _THREAD_LIMITS if threads is not None or name not in os.environ}
        try:
            folder = os.getcwd()
        except FileNotFoundError:
            raise StartError("the working directory is gone; change to another one with os.chdir") from None
        return Surroundings({**os.environ, **given}, folder, list(sys.path))

    def stop_workers(self, drain: bool = False, timeout_ms: int | None = None) -> None:
        """Stop the workers, within `stop_timeout_ms`; definitions stay.

        Parameters
        ----------
        drain : bool
            Whether the calls that were made before end first; new ones are refused meanwhile. If this wait is
            interrupted, the workers stay, and take calls again.
        timeout_ms : int, optional
            How long the drain may take, in milliseconds. What has not ended by then is stopped as without
            it: its future gets `PoolStoppedError`.

        Raises
        ------
        OptionError
            If `timeout_ms` is given without `drain`, or is no positive whole number.
        """
        limit = _drain_limit(drain, timeout_ms)
        if drain and self._is_here():
            self._driver.drain(limit)
        self._driver.stop()

    async def stop_workers_async(self, drain: bool = False, timeout_ms: int | None = None) -> None:
        """Stop the workers as `stop_workers` does, and let the event loop run meanwhile."""
        limit = _drain_limit(drain, timeout_ms)
        if drain and self._is_here():
            await self._driver.drain_async(limit)
        await self._driver.stop_async()

    def _is_here(self) -> bool:
        """Return whether this is no fork: one that leaves a ``with`` block has nothing to wait for."""
        try:
            self._driver.check()
        except NestedCallError:
            return False
        return True

    def wait_until_ready(self, timeout_ms: int | None = None) -> None:
        """Wait until every worker is ready, or has failed for good.

        Parameters
        ----------
        timeout_ms : int, optional
            How long, in milliseconds.

        Raises
        ------
        TimeoutError
            If the time is over first.
        StartError
            If no worker could be started, or none in the place of one that was to restart.
        PoolStoppedError
            If the pool is stopped.
        """
        limit = None if timeout_ms is None else check_count("timeout_ms", timeout_ms) / 1000
        if not self._driver.gates.wait_for(self._driver.core.is_settled, limit):
            raise TimeoutError(f"the workers are not all ready after {timeout_ms} ms")
        self._check_ready()

    def _check_ready(self) -> None:
        if not self.is_running:
            raise PoolStoppedError("the pool is stopped")
        with self._driver.deciding() as (core, _):
            failures = core.supervisor.overlap.take_failures()
        if failures:
            raise StartError("; ".join(failures))
        states = self.get_worker_health_states()
        if states and all(state.health_state == "failed" for state in states):
            exits = [event for event in self.events() if event.event_name == "worker_exited"]
            why = exits[-1].details.get("reason", "") if exits else "see events()"
            raise StartError(f"no worker could be started; the last one {why}")

    def events(self) -> list[WorkerEvent]:
        """Return the latest events, oldest first."""
        with self._driver.deciding() as (core, _):
            return core.state.events.latest()

    def get_worker_health_states(self) -> list[WorkerHealth]:
        """Return the health of each worker, sorted by number."""
        with self._driver.deciding() as (core, _):
            return core.health()

    @overload
    def stack(self, worker_id: int, timeout_ms: int = 1000) -> str: ...

    @overload
    def stack(self, worker_id: None = None, timeout_ms: int = 1000) -> dict[int, str]: ...

    def stack(self, worker_id: int | None = None, timeout_ms: int = 1000) -> str | dict[int, str]:
        """Tell what workers do right now, with the lines of the functions that they run.

        Works while they are busy, also while C code holds the interpreter's lock, and disturbs nothing.
        Besides the call that runs, the threads that functions have started are told, and coroutines that
        wait.

        Parameters
        ----------
        worker_id : int, optional
            Which; without it, all.
        timeout_ms : int
            After how long a worker is said not to answer, in milliseconds.

        Returns
        -------
        str or dict
            The text of that worker; or from each worker's number to its text.

        Raises
        ------
        NotRunningError
            If the workers are not running.
        OptionError
            If there is no such worker.

        Examples
        --------
        >>> from wpc_magic.pool import WorkerProcedureCall
        >>> with WorkerProcedureCall() as pool:
        ...     pool.start_workers(1)
        ...     pool.stack(1)
        'worker 1 (pid ...) waits for calls'
        """
        limit_s = check_count("timeout_ms", timeout_ms) / 1000
        number = None if worker_id is None else check_count("worker_id", worker_id)
        seen: dict[int, object] = {}
        with self._driver.deciding():
            asked = self._driver.stacks.look_at(number, limit_s, seen.__setitem__)
        # The pool's own thread is not asked for more than it has promised: a sink may hold it up.
        self._driver.gates.wait_for(lambda: len(seen) == len(asked), limit_s + 1)
        texts = {each: str(seen.get(each, f"worker {each} was not reached")) for each in asked}
        return texts if number is None else texts[number]

    def resize(self, count: int) -> None:
        """Change how many workers there are.

        New ones are started; those with the highest numbers go when their last call has ended.

        Raises
        ------
        NotRunningError
            If the workers are not running.
        """
        number = check_workers("count", count)
        with self._driver.deciding() as (core, now):
            core.supervisor.resize(number, now)

    def restart_worker(self, worker_id: int, drain: bool = True) -> None:
        """Have a new process in the place of a worker; `wait_until_ready` waits for it.

        The new process is ready before it takes the place: until then, calls go to the old one, which ends
        the last of them, and leaves. A worker that has failed for good comes back.

        Parameters
        ----------
        worker_id : int
            Which.
        drain : bool
            Whether no call is lost, as above; else the old process is ended at once, and the call that it
            runs ends with `WorkerReplacedError`.
        """
        self._restart([check_count("worker_id", worker_id)], drain)

    def restart_workers(self, drain: bool = True) -> None:
        """Have new processes in all places, with the working directory, path and environment of now.

        One after another, with as many workers ready all the time as before. Where one does not come up, the
        old one goes on, and `wait_until_ready` says so.

        Parameters
        ----------
        drain : bool
            Whether no call is lost; else all are ended at once.
        """
        self._restart([state.worker_id for state in self.get_worker_health_states()], drain)

    def _restart(self, worker_ids: Iterable[int], drain: bool) -> None:
        check_flag("drain", drain)
        self._driver.surroundings = self._surroundings(max(1, self.worker_count))
        with self._driver.deciding() as (core, now):
            for worker_id in worker_ids:
                core.supervisor.restart(worker_id, drain, now)


def _drain_limit(drain: bool, timeout_ms: int | None) -> float | None:
    """Return how long a drain may take, in seconds."""
    check_flag("drain", drain)
    if timeout_ms is None:
        return None
    if not drain:
        raise OptionError("timeout_ms is how long a drain may take: give drain=True with it")
    return check_count("timeout_ms", timeout_ms) / 1000


def usable_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
