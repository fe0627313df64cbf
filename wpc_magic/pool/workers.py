"""The part of the public interface that starts, changes and stops the workers."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any, overload

from .checks import check_callable, check_flag, check_workers
from .core.events import WorkerEvent
from .core.registry import Kind
from .core.snapshot import WorkerHealth
from .driver.driver import Driver, WorkerEnvironment
from .driver.output import write_out
from .engines.choice import SETTINGS, make_engine
from .engines.uploads import Upload
from .engines.versions import VersionsWarning
from .errors import NestedCallError, OptionError, PoolStateError, PoolStoppedError, StartError
from .listing import History
from .machine import usable_cores
from .options import PoolOptions, check_count
from .warning_levels import level_outside

__all__ = ["Workers"]

# Read by BLAS and OpenMP libraries, Numba and Polars when they are loaded;
# `worker.thread_limits` reads that of DuckDB.
_THREAD_LIMITS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "BLIS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "POLARS_MAX_THREADS",
    "DUCKDB_NUM_THREADS",
)


class Workers:
    """The methods of a pool that manage its workers.

    Parameters
    ----------
    driver : Driver
        Does the I/O of the pool.
    """

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._uploads: dict[str, Upload] = {}
        self._told_differences = ""

    # -- options ----------------------------------------------------------------------------------------

    @property
    def options(self) -> PoolOptions:
        """The options in force."""
        return self._driver.core.state.options

    def configure(self, **options: Any) -> None:
        """Change options; they apply from now on.

        Parameters
        ----------
        **options
            Fields of `PoolOptions`.

        Raises
        ------
        OptionError
            If an option is unknown or has an invalid value; then nothing changes.
        """
        self._driver.configure(self.options.replace(options))

    @property
    def engine(self) -> str:
        """Where the workers live: ``"local"`` or ``"dask"``."""
        return self._driver.parts.engine.name

    def use_engine(
        self,
        engine: str,
        *,
        client: Any = None,
        address: str | None = None,
        scheduler_file: str | None = None,
        resources: Mapping[str, float] | None = None,
    ) -> None:
        """Choose where the workers live from the next start on.

        Parameters
        ----------
        engine : {"local", "dask"}
            On this machine, or on those of a Dask cluster, as many as it has threads.
        client : distributed.Client, optional
            A client of the cluster, which stays open.
        address : str, optional
            Instead: the address of its scheduler, ``"tcp://10.0.0.1:8786"``.
        scheduler_file : str, optional
            Instead: the file with that address which the scheduler has written.
        resources : mapping, optional
            What each worker takes of the resources that the Dask workers have: ``{"GPU": 1}``.

        Raises
        ------
        OptionError
            If there is no such engine, or it does not take this.
        PoolStateError
            If the workers are running.
        """
        where = {
            "client": client,
            "address": address,
            "scheduler_file": scheduler_file,
            "resources": resources,
        }
        made = make_engine(engine, where)
        self._check_stopped()
        self._driver.parts.engine = made

    def _check_stopped(self) -> None:
        phase = self._driver.core.state.phase
        if phase != "stopped":
            raise PoolStateError(f"the workers are {phase} already{self._if_all_failed()}")

    @property
    def output_sink(self) -> Callable[[Any], object] | None:
        """The callable that receives what functions print and display; None: this process prints it.

        It is given an `OutputText` or an `OutputDisplay`; both have the text. If it has a method ``log``,
        that receives each `OutputRecord`; else log records go to the loggers of this process.
        """
        sink = self._driver.output.sink
        return None if sink is write_out else sink

    @output_sink.setter
    def output_sink(self, sink: Callable[[Any], object] | None) -> None:
        self._driver.output.sink = write_out if sink is None else check_callable("output_sink", sink)

    # -- the workers ------------------------------------------------------------------------------------

    @property
    def is_running(self) -> bool:
        """Whether the workers are running or starting."""
        return self._driver.core.state.phase in ("starting", "running")

    @property
    def worker_count(self) -> int:
        """The number of slots."""
        return len(self._driver.core.state.slots) if self.is_running else 0

    def start_workers(self, count: int | None = None, *, wait: bool = True, **options: Any) -> None:
        """Start the workers, and return when they are ready.

        Parameters
        ----------
        count : int, optional
            The number of workers; by default, as many as the engine has room for: the number of usable cores.
        wait : bool, optional
            Whether to wait until they are ready. If not, calls may be made at once, and run when a worker is
            ready; `wait_until_ready` waits for all, and raises what this method would.
        **options
            Fields of `PoolOptions`, as for `configure`, and the parameters of `use_engine`.

        Raises
        ------
        PoolStateError
            If the workers are running already.
        StartError
            If no worker could be started.
        PoolStoppedError
            If the pool was stopped in the meantime.
        """
        check_flag("wait", wait)
        self._begin_start(count, options)
        if wait:
            self._finish_start(self._wait_for_start)

    def _begin_start(self, count: int | None, options: dict[str, Any], most: int = 0) -> None:
        """Begin to start workers, of which there may be as many as `most` later."""
        self._driver.check()
        if sys.platform == "win32":
            raise StartError("worker processes need Linux or macOS; on Windows, run Python in WSL")
        if count is not None:
            check_workers("count", count)
        self._check_stopped()  # the driver checks this too, but options must not change before
        where = {each: options.pop(each, None) for each in SETTINGS}
        if "engine" in options or any(each is not None for each in where.values()):
            self.use_engine(options.pop("engine", self.engine), **where)
        self._check_shared()
        self.configure(**options)
        number = self._driver.parts.engine.capacity(self._worker_memory()) if count is None else count
        self._driver.start(number, self._worker_environment(most or number))

    def _check_shared(self) -> None:
        """Refuse to start where shared objects cannot be."""
        driver = self._driver
        shared = driver.core.state.registry.of_kind(Kind.SHARED)
        if shared and not driver.parts.engine.shares_memory:
            raise StartError(
                f"{shared[0].name} is in the shared memory of this machine, which workers of "
                f'engine="{self.engine}" do not have; remove it with undefine_shared'
            )

    def _if_all_failed(self) -> str:
        states = self.get_worker_health_states()
        if not states or any(each.health_state != "failed" for each in states):
            return ""
        return ", but every one has failed; restart_workers() starts them again, as %wpc_restart does"

    def _wait_for_start(self) -> None:
        """Wait until every worker is ready; but not for ever for the first place on a cluster that has none.

        Raises
        ------
        StartError
            Also if there was none in ten times `start_timeout_ms`.
        """
        core = self._driver.core
        limit_s = 10 * self.options.start_timeout_ms / 1000
        while not self._driver.condition.wait_for(core.is_settled, limit_s):
            with self._driver.reading() as core:
                waits_for = [slot.waits_for for slot in core.state.slots.values()]
            if all(waits_for):
                raise StartError(
                    f"the cluster had a place for none of {len(waits_for)} workers within {limit_s:g} s: "
                    f"{waits_for[0]}. That is ten times start_timeout_ms; start_workers(wait=False) and "
                    "%wpc_start --no-wait do not wait"
                )
        self._check_ready()

    def _finish_start(self, wait: Callable[[], None]) -> None:
        try:
            wait()
        except StartError:
            self.stop_workers()
            raise

    def _worker_environment(self, count: int) -> WorkerEnvironment:
        threads = self.options.threads_per_worker
        limit = str(threads or max(1, usable_cores() // count))
        # What the user has set applies to workers too, unless the option overrides it.
        own = dict(self.options.environment or {})
        known = {**os.environ, **own}
        limits = {name: limit for name in _THREAD_LIMITS if threads is not None or name not in known}
        chosen = self.options.working_folder
        try:
            folder = os.getcwd() if chosen is None else os.path.expanduser(chosen)
        except FileNotFoundError:
            raise StartError("the working directory is gone; change to another one with os.chdir") from None
        # As the interpreter does, it leaves out what is no text (a Path, say).
        path = [str.__str__(entry) for entry in sys.path if isinstance(entry, str)]
        uploads = tuple(upload.archive for upload in self._uploads.values())
        asked = own if threads is None else {**own, **limits}
        return WorkerEnvironment(
            {**known, **limits},
            folder,
            path,
            uploads,
            asked,
            chosen,
            self.options.reconnect_ms,
            self._worker_memory(),
        )

    def _worker_memory(self) -> int:
        """Return how much memory each worker may use, in bytes; 0: nobody has said."""
        return (self.options.hard_memory_per_worker_mb or 0) << 20

    def stop_workers(self, drain: bool = False, timeout_ms: int | None = None) -> None:
        """Stop the workers, within `stop_timeout_ms`; definitions are kept.

        Parameters
        ----------
        drain : bool
            Whether to wait for the pending calls first; new ones are refused meanwhile. If this wait is
            interrupted, the workers keep running and accept calls again.
        timeout_ms : int, optional
            How long the drain may take, in milliseconds. Calls that have not ended by then are stopped as
            without it: their futures get `PoolStoppedError`.

        Raises
        ------
        OptionError
            If `timeout_ms` is given without `drain`, or is not a positive whole number.
        """
        limit = _drain_limit(drain, timeout_ms)
        if drain and self._is_owner_process():
            self._driver.drain(limit)
        self._driver.stop()

    async def stop_workers_async(self, drain: bool = False, timeout_ms: int | None = None) -> None:
        """Stop the workers like `stop_workers`, without blocking the event loop."""
        limit = _drain_limit(drain, timeout_ms)
        if drain and self._is_owner_process():
            await self._driver.drain_async(limit)
        await self._driver.stop_async()

    def _is_owner_process(self) -> bool:
        """Return whether this is not a fork: a fork that leaves a ``with`` block has nothing to wait for."""
        try:
            self._driver.check()
        except NestedCallError:
            return False
        return True

    def wait_until_ready(self, timeout_ms: int | None = None) -> None:
        """Wait until every worker is ready, or has failed permanently.

        Parameters
        ----------
        timeout_ms : int, optional
            How long to wait, in milliseconds.

        Raises
        ------
        TimeoutError
            If the timeout expires first.
        StartError
            If no worker could be started, or no replacement for one whose restart was requested.
        PoolStoppedError
            If the pool is stopped.
        """
        limit = None if timeout_ms is None else check_count("timeout_ms", timeout_ms) / 1000
        if not self._driver.condition.wait_for(self._driver.core.is_settled, limit):
            raise TimeoutError(f"the workers are not all ready after {timeout_ms} ms")
        self._check_ready()

    def _check_ready(self) -> None:
        if not self.is_running:
            raise PoolStoppedError("the pool is stopped")
        with self._driver.locked_core() as (core, _):
            failures = core.supervisor.replacements.take_failures()
        if failures:
            raise StartError("; ".join(failures))
        states = self.get_worker_health_states()
        if states and all(state.health_state == "failed" for state in states):
            exits = [event for event in self.events() if event.event_name == "worker_exited"]
            why = exits[-1].details.get("reason", "") if exits else "see events()"
            raise StartError(f"no worker could be started; the last one {why}")
        self._tell_differences()

    def _tell_differences(self) -> None:
        """Warn once of machines that run something else than this one."""
        table = self._driver.parts.engine.differences()
        if table and table != self._told_differences:
            text = f"the machines of the cluster run other versions than this one:\n{table}"
            warnings.warn(text, VersionsWarning, stacklevel=level_outside())
        self._told_differences = table

    def events(self) -> list[WorkerEvent]:
        """Return the latest events, oldest first."""
        with self._driver.reading() as core:
            return History(core.state.events.latest(), "event", WorkerEvent)

    def get_worker_health_states(self) -> list[WorkerHealth]:
        """Return the health of each worker, sorted by number."""
        with self._driver.reading() as core:
            return core.health()

    @overload
    def stack(self, worker_id: int, timeout_ms: int = 1000) -> str: ...

    @overload
    def stack(self, worker_id: None = None, timeout_ms: int = 1000) -> dict[int, str]: ...

    def stack(self, worker_id: int | None = None, timeout_ms: int = 1000) -> str | dict[int, str]:
        """Return the current stacks of workers, with the source lines of the functions that they run.

        Works while they are busy, even while C code holds the GIL, and without side effects. Besides the
        running call, the stacks include threads that functions have started, and suspended coroutines.

        Parameters
        ----------
        worker_id : int, optional
            The worker; without it, all of them.
        timeout_ms : int
            After how long a worker is reported as not answering, in milliseconds.

        Returns
        -------
        str or dict
            The stack of that worker as text; or the stack of each worker, by the worker's number.

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
        ...     pool.stack(1, timeout_ms=60_000)
        'worker 1 (pid ...) waits for calls'
        """
        limit_s = check_count("timeout_ms", timeout_ms) / 1000
        number = None if worker_id is None else check_count("worker_id", worker_id)
        reports: dict[int, object] = {}
        with self._driver.locked_core():
            requested = self._driver.stacks.request_stacks(number, limit_s, reports.__setitem__)
        # With a timeout, because a sink may block the pool's thread that collects them.
        self._driver.condition.wait_for(lambda: len(reports) == len(requested), limit_s + 1)
        stacks = {each: str(reports.get(each, f"worker {each} was not reached")) for each in requested}
        return stacks if number is None else stacks[number]

    def resize(self, count: int) -> None:
        """Change the number of workers.

        New ones are started; those with the highest numbers stop when their last call has ended.

        Raises
        ------
        NotRunningError
            If the workers are not running.
        """
        number = check_workers("count", count)
        with self._driver.locked_core() as (core, now):
            core.supervisor.resize(number, now)

    def restart_worker(self, worker_id: int, drain: bool = True) -> None:
        """Replace the process of a worker; `wait_until_ready` waits for the new one.

        The replacement takes over when it is ready: until then, calls go to the old process, which finishes
        them and exits. A worker that has failed permanently is started again.

        Parameters
        ----------
        worker_id : int
            The worker.
        drain : bool
            Whether the old process finishes its calls, as above; else it is killed at once, and the call that
            it runs ends with `WorkerReplacedError`.
        """
        self._restart([check_count("worker_id", worker_id)], drain)

    def restart_workers(self, drain: bool = True) -> None:
        """Replace the processes of all workers; they get the current directory, path and environment.

        A rolling restart: as many workers stay ready as before. Where a replacement fails to start, the old
        process stays, and `wait_until_ready` reports it.

        Parameters
        ----------
        drain : bool
            Whether the old processes finish their calls; else all are killed at once.
        """
        self._restart([state.worker_id for state in self.get_worker_health_states()], drain)

    def _restart(self, worker_ids: Iterable[int], drain: bool) -> None:
        check_flag("drain", drain)
        self._driver.parts.worker_environment = self._worker_environment(max(1, self.worker_count))
        with self._driver.locked_core() as (core, now):
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
