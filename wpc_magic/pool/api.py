"""`WorkerProcedureCall`: the pool as its users see it."""

from __future__ import annotations

import dataclasses
import importlib.util
import itertools
import os
import pkgutil
import sys
import traceback
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn

from .driver import Driver, Surroundings
from .errors import (
    ArgumentsNotSerializableError,
    DefinitionError,
    FunctionNotDefinedError,
    InstallError,
    NestedCallError,
    OptionError,
    PoolStoppedError,
    RequirementMissingError,
    StartError,
)
from .futures import CallFuture
from .interrupts import Interrupts
from .local import LocalDefinitions
from .mapping import MapResults
from .mind.calls import NO_OPTIONS, Call
from .mind.core import Core
from .mind.events import WorkerEvent
from .mind.missing import Fix, python_line
from .mind.registry import Kind, Record
from .mind.snapshot import (
    ConstantInfo,
    DependencyInfo,
    FunctionInfo,
    PoolSnapshot,
    WorkerHealth,
)
from .options import CallOptions, PoolOptions, check_name, did_you_mean
from .procedures import Procedures
from .source import FunctionDraft, draft_cell, draft_function
from .texts import OutputText, write_out
from .wire import protocol
from .wire.codec import encode
from .worker.failure import revive

__all__ = ["WorkerProcedureCall"]

# What BLAS and OpenMP libraries look at when they are loaded.
_THREAD_LIMITS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "BLIS_NUM_THREADS",
)


@dataclasses.dataclass(frozen=True, slots=True)
class _About:
    """What is kept of a function beside what workers get."""

    info: FunctionInfo
    source: str


class WorkerProcedureCall:
    """A supervised pool of worker processes that run named functions.

    Parameters
    ----------
    name : str
        What the pool is called in messages.
    **options
        Of `PoolOptions`; ``configure`` changes them later.

    Attributes
    ----------
    call : Procedures
        The registered functions: ``pool.call.simulate(10)`` returns a `CallFuture`.
    describe_fix : callable
        Writes the line that mends a refused definition, given a `Fix`.
    origin : object
        Goes along with every call that is made from now on, to where its text is shown.

    Examples
    --------
    >>> with WorkerProcedureCall() as pool:
    ...     _ = pool.define_worker_function(name="double", worker_func="def double(x): return 2 * x")
    ...     _ = pool.start_workers(1)
    ...     pool.call.double(21).result()
    42
    """

    def __init__(self, *, name: str = "wpc", **options: Any) -> None:
        self._driver = Driver(check_name(name, "the pool's name"), PoolOptions().replace(options))
        self.name = name
        self.describe_fix: Callable[[Fix], str] = python_line
        self.origin: Any = None
        self.call = Procedures(self)
        self._ids = itertools.count(1)
        self._keys = itertools.count(1)
        self._listener_ids = itertools.count(1)
        self._reloads = itertools.count(1)
        self._streaming: set[str] = set()  # functions whose arguments are pickled in pieces
        self._local = LocalDefinitions(self._driver.changes_since, self._driver.constant_buffers)
        weakref.finalize(self, _let_go, self._driver, self._local)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}: {self._driver.core.state.phase}>"

    def __reduce__(self) -> NoReturn:
        raise NestedCallError(
            f"the pool {self.name!r} cannot be sent to its own workers; "
            f"there, registered functions call each other by their names: clean(x)"
        )

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
        new = self.options.replace(options)
        with self._driver.deciding() as (core, _):
            core.state.options = new
            core.state.events.resize(new.event_history)

    @property
    def output_sink(self) -> Callable[[OutputText], object] | None:
        """Who is given what functions print; None: it goes where this process prints."""
        sink = self._driver.texts.sink
        return None if sink is write_out else sink

    @output_sink.setter
    def output_sink(self, sink: Callable[[OutputText], object] | None) -> None:
        self._driver.texts.sink = write_out if sink is None else sink

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
        number = _count("count", count) if count is not None else usable_cores()
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
        return Surroundings({**os.environ, **given}, os.getcwd(), list(sys.path))

    def stop_workers(self, drain: bool = False) -> None:
        """Stop the workers, within `stop_timeout_ms`; definitions stay.

        Parameters
        ----------
        drain : bool
            Whether the calls that were made before end first; new ones are refused meanwhile.
        """
        if drain:
            self._driver.gates.wait_for(self._driver.drained)
        self._driver.stop()

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
            If no worker could be started.
        PoolStoppedError
            If the pool is stopped.
        """
        limit = None if timeout_ms is None else _count("timeout_ms", timeout_ms) / 1000
        if not self._driver.gates.wait_for(self._driver.core.is_settled, limit):
            raise TimeoutError(f"the workers are not all ready after {timeout_ms} ms")
        self._check_ready()

    def _check_ready(self) -> None:
        if not self.is_running:
            raise PoolStoppedError("the pool is stopped")
        states = self.get_worker_health_states()
        if states and all(state.health_state == "failed" for state in states):
            exits = [event for event in self.events() if event.event_name == "worker_exited"]
            why = exits[-1].details.get("reason", "") if exits else "see events()"
            raise StartError(f"no worker could be started; the last one {why}")

    def resize(self, count: int) -> None:
        """Change how many workers there are.

        New ones are started; those with the highest numbers go when their last call has ended.

        Raises
        ------
        NotRunningError
            If the workers are not running.
        """
        number = _count("count", count)
        with self._driver.deciding() as (core, now):
            core.supervisor.resize(number, now)

    def restart_worker(self, worker_id: int, drain: bool = False) -> None:
        """Have a new process in the place of a worker; `wait_until_ready` waits for it.

        A worker that has failed for good comes back.

        Parameters
        ----------
        worker_id : int
            Which.
        drain : bool
            Whether its calls end first; else the one that runs ends with `WorkerReplacedError`.
        """
        self._restart([_count("worker_id", worker_id)], drain)

    def restart_workers(self, drain: bool = False) -> None:
        """Have new processes in all places, with the working directory, path and environment of now."""
        self._restart([state.worker_id for state in self.get_worker_health_states()], drain)

    def _restart(self, worker_ids: Iterable[int], drain: bool) -> None:
        self._driver.surroundings = self._surroundings(max(1, self.worker_count))
        with self._driver.deciding() as (core, now):
            for worker_id in worker_ids:
                core.supervisor.restart(worker_id, drain, now)

    def __enter__(self) -> WorkerProcedureCall:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.stop_workers(drain=kind is None)

    async def __aenter__(self) -> WorkerProcedureCall:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            await self._driver.gates.wait_for_async(self._driver.drained)
        await self._driver.stop_async()

    # -- definitions ------------------------------------------------------------------------------------

    def define_worker_function(
        self,
        *,
        worker_func: Callable[..., Any] | str,
        name: str | None = None,
        timeout_ms: int | None = None,
        queue_timeout_ms: int | None = None,
        retries: int = 0,
    ) -> FunctionInfo:
        """Define a function for the workers, or define it anew.

        Parameters
        ----------
        worker_func : callable or str
            The function, or the text of one ``def``.
        name : str, optional
            Its name in ``pool.call``; by default, the function's own.
        timeout_ms, queue_timeout_ms, retries : int
            As in `CallOptions`.

        Returns
        -------
        FunctionInfo
            What was registered.

        Raises
        ------
        DefinitionError
            If it does not parse, uses names that the workers do not have, or a worker could not install it.
            Then the definition before it stays in force everywhere.
        OptionError
            If the name or an option is wrong.
        """
        if name is not None:
            check_name(name, "function name")
        options = CallOptions(timeout_ms=timeout_ms, queue_timeout_ms=queue_timeout_ms, retries=retries)
        known = self._known() | ({name} if name else set())
        if isinstance(worker_func, str):
            drafts = draft_cell(
                worker_func,
                None,
                known=known,
                describe_fix=self.describe_fix,
                pool_name=self.name,
                rename=name,
            )
            if len(drafts) != 1:
                names = ", ".join(draft.name for draft in drafts)
                raise DefinitionError(
                    f"the text defines {len(drafts)} functions ({names}); "
                    f"define_worker_functions takes a text with several"
                )
        else:
            drafts = [
                draft_function(
                    worker_func, name, known=known, describe_fix=self.describe_fix, pool_name=self.name
                )
            ]
        return self._define_functions(drafts, options)[0]

    def define_worker_functions(
        self,
        source: str,
        *,
        names: Sequence[str] | None = None,
        look: Callable[[str], Fix | None] | None = None,
        timeout_ms: int | None = None,
        queue_timeout_ms: int | None = None,
        retries: int = 0,
    ) -> list[FunctionInfo]:
        """Define the functions of a cell: each public top-level ``def``, or those named.

        The whole text is one module in the workers: its imports, helpers and classes come along.

        Parameters
        ----------
        source : str
            The text.
        names : sequence of str, optional
            Which functions.
        look : callable, optional
            Tells what an unknown name stands for where the text was written, so that the error can say what
            to type; `wpc_magic.pool.source.look_in` makes one from a namespace.
        timeout_ms, queue_timeout_ms, retries : int
            As in `CallOptions`, for each.

        Raises
        ------
        DefinitionError, OptionError
            As `define_worker_function`; then none of them is defined.
        """
        options = CallOptions(timeout_ms=timeout_ms, queue_timeout_ms=queue_timeout_ms, retries=retries)
        drafts = draft_cell(
            source,
            names,
            known=self._known(),
            look=look,
            describe_fix=self.describe_fix,
            pool_name=self.name,
        )
        return self._define_functions(drafts, options)

    def function(self, worker_func: Any = None, /, **options: Any) -> Any:
        """Define the function below: a decorator, with options or without.

        The name stays bound to the function itself; ``pool.call`` has the one that runs in workers.

        Parameters
        ----------
        **options
            As `define_worker_function` takes them.

        Examples
        --------
        >>> pool = WorkerProcedureCall()
        >>> @pool.function(timeout_ms=500)
        ... def double(x):
        ...     return 2 * x
        >>> pool.call.double
        <registered function double(x)>
        """

        def define(function: Any) -> Any:
            self.define_worker_function(worker_func=function, **options)
            return function

        return define if worker_func is None else define(worker_func)

    def _define_functions(self, drafts: list[FunctionDraft], options: CallOptions) -> list[FunctionInfo]:
        records = []
        for draft in drafts:
            key = next(self._keys)
            info = FunctionInfo(
                draft.name,
                draft.signature,
                draft.sha1,
                0,
                requires=draft.needs,
                is_async=draft.is_async,
                doc=draft.doc,
                timeout_ms=options.timeout_ms,
                retries=options.retries or None,
            )
            wire = protocol.Function(
                draft.name, key, draft.how, draft.cell, draft.path, draft.payload, draft.wire_needs
            )
            about = _About(info, draft.source)
            records.append(
                Record(draft.name, Kind.FUNCTION, wire, about, draft.needs, key, draft.is_async, options)
            )
            self._local.know(draft.cell)
        self._change(records)
        return [self._info_of(draft.name) for draft in drafts]

    def undefine_worker_function(self, *, name: str) -> None:
        """Remove a function; calls of it that run go on.

        Raises
        ------
        FunctionNotDefinedError
            If there is none of that name.
        """
        self._remove(name, Kind.FUNCTION, FunctionNotDefinedError)

    undefine_woker_function = undefine_worker_function
    """The original documents this spelling."""

    def get_remote_functions(self) -> list[FunctionInfo]:
        """Return what is known of each function, sorted by name."""
        return self._infos(Kind.FUNCTION)

    def define_worker_dependency(
        self,
        *,
        alias: str,
        module_specifier: str,
        export_name: str | None = None,
        is_default_export: bool = False,
        reload: bool = False,
    ) -> DependencyInfo:
        """Give the workers a module, or an object of one, under a name.

        Parameters
        ----------
        alias : str
            The name in functions: ``np``.
        module_specifier : str
            The module: ``numpy``.
        export_name : str, optional
            The object of the module, instead of the module itself.
        is_default_export : bool
            Whether the object is the one named like the module's last part: ``datetime`` of ``datetime``.
        reload : bool
            Whether workers that have the module already read its file again.

        Raises
        ------
        DefinitionError
            If there is no such module here, or a worker could not import it.
        OptionError
            If an argument is wrong.
        """
        check_name(alias, "alias")
        _module_name(module_specifier)
        if export_name is not None and (not isinstance(export_name, str) or not export_name):
            raise OptionError(f"export_name takes a name, not {export_name!r}")
        for word, value in (("is_default_export", is_default_export), ("reload", reload)):
            if not isinstance(value, bool):
                raise OptionError(f"{word} takes True or False, not {value!r}")
        if is_default_export and export_name is not None:
            raise OptionError("export_name and is_default_export do not go together")
        _find_module(module_specifier)
        export = module_specifier.rpartition(".")[2] if is_default_export else export_name
        info = DependencyInfo(alias, module_specifier, export_name, is_default_export, 0)
        count = next(self._reloads) if reload else 0
        wire = protocol.Dependency(alias, module_specifier, export, count)
        self._change([Record(alias, Kind.DEPENDENCY, wire, info)])
        found: DependencyInfo = self._info_of(alias)
        return found

    def undefine_worker_dependency(self, *, alias: str) -> None:
        """Remove a dependency; functions that need it are refused from now on.

        Raises
        ------
        RequirementMissingError
            If there is none of that name.
        """
        self._remove(alias, Kind.DEPENDENCY, RequirementMissingError)

    def get_worker_dependencies(self) -> list[DependencyInfo]:
        """Return what is known of each dependency, sorted by name."""
        return self._infos(Kind.DEPENDENCY)

    def define_worker_constant(self, *, name: str, value: Any) -> ConstantInfo:
        """Give the workers a value under a name; they cannot change it.

        Parameters
        ----------
        name : str
            The name in functions.
        value : object
            Anything that can be pickled. Dicts, lists, sets and bytearrays in it are read-only in workers.

        Raises
        ------
        OptionError
            If the name is wrong.
        DefinitionError
            If the value cannot be pickled, or not unpickled in a worker.
        """
        check_name(name, "constant name")
        try:
            payload, buffers = encode(value, streaming=True)
        except NestedCallError:
            raise
        except Exception as error:
            kind = type(value).__name__
            raise DefinitionError(
                f"the value of {name} ({kind}) cannot be sent to workers: {error}"
            ) from error
        size = len(payload) + sum(len(buffer) for buffer in buffers)
        about = ConstantInfo(name, 0, type(value).__name__, size)
        block, where = self._driver.place_constant(buffers)
        wire = protocol.Constant(name, payload, where)
        self._change([Record(name, Kind.CONSTANT, wire, about, block=block)])
        found: ConstantInfo = self._info_of(name)
        return found

    def undefine_worker_constant(self, *, name: str) -> None:
        """Remove a constant; functions that need it are refused from now on.

        Raises
        ------
        RequirementMissingError
            If there is none of that name.
        """
        self._remove(name, Kind.CONSTANT, RequirementMissingError)

    def get_worker_constants(self) -> list[ConstantInfo]:
        """Return what is known of each constant, sorted by name; not its value."""
        return self._infos(Kind.CONSTANT)

    def _known(self) -> set[str]:
        with self._driver.deciding() as (core, _):
            return set(core.state.registry.records)

    def _infos(self, kind: Kind) -> list[Any]:
        with self._driver.deciding() as (core, _):
            return [_info(core, record) for record in core.state.registry.of_kind(kind)]

    def _info_of(self, name: str) -> Any:
        with self._driver.deciding() as (core, _):
            return _info(core, core.state.registry.records[name])

    def _remove(self, name: str, kind: Kind, error: type[Exception]) -> None:
        with self._driver.deciding() as (core, _):
            record = core.state.registry.records.get(name)
            known = [each.name for each in core.state.registry.of_kind(kind)]
        if record is None or record.kind is not kind:
            raise error(f"no {kind.value} {name!r} is defined.{did_you_mean(str(name), known)}")
        self._change([], [name])

    def _change(self, records: list[Record], removed: Sequence[str] = ()) -> None:
        """Have a change in force on all workers, or on none."""
        self._driver.check()
        rollout = self._driver.change(records, removed)
        self.call.forget()
        if rollout.done:
            return
        names = ", ".join([*(record.name for record in records), *removed])
        reason = rollout.reason
        if isinstance(reason, protocol.Failure):
            message = (
                f"worker {rollout.refused_by} could not install {names}: {reason.name}: {reason.message}"
            )
            cause = revive(reason)
            stack = reason.stack
            if cause.__traceback__ is not None:  # this process has the lines of the cell at hand
                stack = "".join(traceback.format_exception(cause))
            if "\n" in stack.strip():  # else it says the same once more
                message += f"\n\nIn the worker:\n{stack.rstrip()}"
            raise InstallError(message) from cause
        raise InstallError(f"worker {rollout.refused_by} could not install {names}: {reason}")

    # -- calls ------------------------------------------------------------------------------------------

    def submit(
        self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: CallOptions = NO_OPTIONS
    ) -> CallFuture:
        """Make a call; ``pool.call.NAME(...)`` is the better way to write it.

        Raises
        ------
        NotRunningError, FunctionNotDefinedError, ArgumentsNotSerializableError, RequirementMissingError
        NoWorkerError, SaturatedError
            In this order, the first that holds.
        """
        __tracebackhide__ = True
        try:
            body, buffers = encode((args, kwargs), name in self._streaming)
        except Exception as error:
            raise self._not_sent(name, error) from error
        if buffers:
            return self._submit(name, body, buffers, 0, options)
        driver = self._driver
        call = Call(next(self._ids), name, body, options=options, origin=self.origin)
        future = call.future = CallFuture(call, driver)
        driver.submit(call)
        return future

    def submit_chunk(
        self, name: str, columns: tuple[list[Any], ...], count: int, options: CallOptions
    ) -> CallFuture:
        """Make one call that runs the function for each item; its value is `(values, failure)`.

        Parameters
        ----------
        name : str
            The function.
        columns : tuple of list
            For each parameter, its values.
        count : int
            How many items there are.
        options : CallOptions
            How the call is made.
        """
        try:
            body, buffers = encode(columns, name in self._streaming)
        except Exception as error:
            raise self._not_sent(name, error) from error
        return self._submit(name, body, buffers, count, options)

    def _not_sent(self, name: str, error: Exception) -> Exception:
        self._driver.check()
        with self._driver.deciding() as (core, _):
            core.dispatch.check(name)
        if isinstance(error, NestedCallError):
            return error
        return ArgumentsNotSerializableError(f"the arguments of {name} cannot be sent to a worker: {error}")

    def _submit(self, name: str, body: bytes, buffers: Any, items: int, options: CallOptions) -> CallFuture:
        driver = self._driver
        if not buffers:
            call = Call(next(self._ids), name, body, items=items, options=options, origin=self.origin)
            future = call.future = CallFuture(call, driver)
            driver.submit(call)
            return future
        # Large pieces in the pickle itself: next time it is written in pieces from the start.
        (self._streaming.discard if body[0] else self._streaming.add)(name)
        with Interrupts():  # a block that is leased and not given back would be lost
            # The call may be sent later, or again; what the caller then does to an array must not reach it.
            block = driver.store.place(buffers)
            copies = () if block is not None else [memoryview(bytes(buffer)) for buffer in buffers]
            call = Call(next(self._ids), name, body, copies, items=items, options=options, origin=self.origin)
            call.block = block
            future = call.future = CallFuture(call, driver)
            try:
                driver.submit(call)
            except BaseException:
                if block is not None:
                    block.let_go()
                raise
        return future

    def map(
        self,
        name: str,
        *iterables: Iterable[Any],
        chunk_size: int | None = None,
        ordered: bool = True,
        **options: Any,
    ) -> MapResults:
        """Call a function for each item, in all workers at once.

        Parameters
        ----------
        name : str
            The function.
        *iterables : iterable
            One for each argument; the shortest ends the map. They may be endless: items are taken as needed.
        chunk_size : int, optional
            How many items travel together; by default as many as take about 10 ms.
        ordered : bool
            Whether results come in the order of the items, or as soon as they are there.
        **options
            Of `CallOptions`.

        Returns
        -------
        MapResults
            An iterator, and an async iterator, of the results.
        """
        if not iterables:
            raise OptionError("map takes at least one iterable after the function's name")
        if chunk_size is not None:
            _count("chunk_size", chunk_size)
        if not isinstance(ordered, bool):
            raise OptionError(f"ordered takes True or False, not {ordered!r}")
        call_options = NO_OPTIONS.replace(options) if options else NO_OPTIONS
        return MapResults(self, _name(name), iterables, chunk_size, ordered, call_options)

    def broadcast(self, name: str, /, *args: Any, **kwargs: Any) -> dict[int, CallFuture]:
        """Call a function once in every worker.

        Returns
        -------
        dict
            From the worker's number to the future.
        """
        workers = [
            state.worker_id
            for state in self.get_worker_health_states()
            if state.health_state not in ("failed", "stopped")
        ]
        if not workers:
            with self._driver.deciding() as (core, _):
                core.dispatch.check(_name(name))
        return {
            worker: self.submit(_name(name), args, kwargs, CallOptions(worker_id=worker))
            for worker in workers
        }

    def cancel_all(self, origin: Any = None) -> int:
        """Cancel every call that has not ended, as `CallFuture.cancel` does.

        Parameters
        ----------
        origin : object, optional
            Only those that were made while the pool's `origin` was this.

        Returns
        -------
        int
            How many there were.
        """
        return self._driver.cancel_all(lambda call: origin is None or call.origin == origin)

    @property
    def cancelled_count(self) -> int:
        """How many calls have been cancelled since the pool was made."""
        return self._driver.core.state.cancelled

    def give_up(self, futures: list[CallFuture]) -> None:
        """Have calls cancelled, without waiting for anything."""
        self._driver.give_up(futures)

    def has_timeout(self, name: str, options: CallOptions) -> bool:
        """Tell whether calls of a function run against a time-out."""
        record = self._driver.core.state.registry.records.get(name)
        own = record.options.timeout_ms if record is not None else None
        return any(limit is not None for limit in (options.timeout_ms, own, self.options.call_timeout_ms))

    def mean_s(self, name: str) -> float | None:
        """Return what one call of a function takes, in seconds; None: not known yet."""
        state = self._driver.core.state
        record = state.registry.records.get(name)
        stats = state.stats.get(record.key) if record is not None else None
        return stats.mean_s if stats is not None else None

    def local_function(self, name: str) -> Callable[..., Any]:
        """Return a registered function, to be called in this process."""
        return self._local.function(self._record(name).key)

    def local_module(self, name: str) -> Any:
        """Return the module of a registered function in this process; a cell is run here on first need."""
        return self._local.module(self._record(name).wire)

    def _record(self, name: str) -> Record:
        with self._driver.deciding() as (core, _):
            record = core.state.registry.records.get(name)
            known = [each.name for each in core.state.registry.of_kind(Kind.FUNCTION)]
        if record is None or record.kind is not Kind.FUNCTION:
            raise FunctionNotDefinedError(f"no function {name!r} is defined.{did_you_mean(name, known)}")
        return record

    def describe(self, name: str) -> Any:
        """Return what is kept of a function: its `info` and its `source`; None: there is none."""
        record = self._driver.core.state.registry.records.get(name)
        return record.about if record is not None and record.kind is Kind.FUNCTION else None

    # -- what there is ----------------------------------------------------------------------------------

    def on_worker_event(self, *, listener: Callable[[WorkerEvent], object]) -> int:
        """Have `listener` called with every event from now on, in a thread of the pool's.

        Returns
        -------
        int
            What `off_worker_event` takes.
        """
        if not callable(listener):
            raise OptionError(f"listener takes a callable, not {listener!r}")
        number = next(self._listener_ids)
        self._driver.listeners[number] = listener
        return number

    def off_worker_event(self, *, listener_id: int) -> bool:
        """Call a listener no more; return whether it was there."""
        return self._driver.listeners.pop(listener_id, None) is not None

    def events(self) -> list[WorkerEvent]:
        """Return the latest events, oldest first."""
        with self._driver.deciding() as (core, _):
            return core.state.events.latest()

    def get_worker_health_states(self) -> list[WorkerHealth]:
        """Return the health of each worker, sorted by number."""
        with self._driver.deciding() as (core, _):
            return core.health()

    def snapshot(self) -> PoolSnapshot:
        """Return a picture of the pool and its workers."""
        with self._driver.deciding() as (core, now):
            return core.snapshot(self.name, now, self._driver.facts())

    def dashboard(self) -> Any:
        """Return the live dashboard, for a notebook to show."""
        # By name and on demand: the pool itself knows no notebook, and works without one.
        door: Any = importlib.import_module(f"{__name__.partition('.')[0]}.dashboard")
        return door.open_dashboard(self)


def _info(core: Core, record: Record) -> Any:
    """Return what the getters tell of a definition, with what changes by the moment."""
    installed = core.installed_count(record)
    if record.kind is Kind.FUNCTION:
        about = record.about.info
        return dataclasses.replace(about, installed_worker_count=installed, revision=record.revision)
    return dataclasses.replace(record.about, installed_worker_count=installed)


def usable_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _let_go(driver: Driver, local: LocalDefinitions) -> None:
    driver.abandon()
    local.close()


def _count(word: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise OptionError(f"{word} takes a positive whole number, not {value!r}")
    return value


def _name(name: object) -> str:
    if not isinstance(name, str):
        raise OptionError(f"the function is given by its name, not by {name!r}")
    return name


def _module_name(name: object) -> None:
    if not isinstance(name, str) or not all(part.isidentifier() for part in name.split(".")):
        raise OptionError(f"module_specifier takes the name of a module, such as 'os.path', not {name!r}")


def _find_module(name: str) -> None:
    """Refuse a module that is not there; it is not imported, since it may be meant for workers only."""
    try:
        spec = sys.modules.get(name) or importlib.util.find_spec(name)
    except (ImportError, ValueError) as error:
        raise DefinitionError(f"the module {name!r} cannot be found: {error}") from None
    if spec is None:
        top = (module.name for module in pkgutil.iter_modules())
        near = did_you_mean(name, [*sys.stdlib_module_names, *top])
        raise DefinitionError(f"there is no module {name!r} here.{near}")
