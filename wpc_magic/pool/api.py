"""`WorkerProcedureCall`: the public interface of the pool."""

from __future__ import annotations

import dataclasses
import importlib
import itertools
import time
import weakref
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, Self

from .caching.calls import CachedCalls
from .caching.results import ResultsCache
from .checks import check_callable, check_flag, check_whole
from .constants import Constants
from .core.events import WorkerEvent
from .core.registry import Kind, Record
from .core.running_calls import RunningCall
from .core.snapshot import PoolSnapshot
from .databases import Databases
from .definitions import Definitions
from .dependencies import Dependencies
from .driver.driver import Driver
from .engines.choice import make_engine
from .errors import NestedCallError
from .event_log import EventLogs
from .export import module_text
from .function_calls import FunctionCalls
from .future_driver import WaitObserver
from .futures import CallFuture
from .histories import Histories
from .insights import Measured
from .inspection import Inspection
from .live import add_pool
from .local import LocalDefinitions
from .maps.mapping import Maps
from .maps.running import RunningMaps
from .options import PoolOptions, check_name
from .procedures import Procedures
from .public import FOR_PARTS
from .replay import Replays
from .seeds import Seeds
from .setups import Setups
from .shared_objects import SharedObjects
from .statistics import Statistics
from .submission import Submission
from .uploads import Uploads
from .wire.codec import decode
from .workers import Workers

__all__ = ["WorkerProcedureCall"]


class WorkerProcedureCall(
    Submission,
    Workers,
    Uploads,
    Maps,
    CachedCalls,
    FunctionCalls,
    Replays,
    Measured,
    Dependencies,
    Constants,
    Databases,
    SharedObjects,
    Setups,
    Seeds,
    EventLogs,
    Statistics,
    Histories,
    Inspection,
):
    """A supervised pool of worker processes that run named functions.

    Parameters
    ----------
    name : str
        The name of the pool in messages.
    engine : {"local", "dask"}
        Where its workers live: on this machine, or on those of a Dask cluster. `use_engine` changes it later.
    client, address, scheduler_file : optional
        The cluster, as for `use_engine`.
    resources : mapping, optional
        What each worker takes there, as for `use_engine`.
    **options
        Fields of `PoolOptions`; ``configure`` changes them later.

    Attributes
    ----------
    call : Procedures
        The namespace of the registered functions: ``pool.call.simulate(10)`` returns a `CallFuture`.
    describe_fix : callable
        Returns the line to type that fixes a refused definition, given a `Fix`.
    find_origin : callable or None
        Asked once for each call, in the thread and the task that makes it, for what the call carries as its
        `origin`: it tells the output sink where the call's output belongs, and `cancel_all` which calls to
        cancel. A notebook sets it; None: every call carries the value that `origin` was set to.
    when_not_running : callable or None
        Called when a call is made while the workers are stopped: it may start them.
        None: the call is refused.
    wait_observer : WaitObserver or None
        Is told of waits that take long: a notebook shows them.
    keep_partial : callable
        Given the ``partial`` of the exception that ends a map, returns where it is, for the exception's note.

    Examples
    --------
    >>> with WorkerProcedureCall() as pool:
    ...     _ = pool.define_worker_function(name="double", worker_func="def double(x): return 2 * x")
    ...     _ = pool.start_workers(1)
    ...     pool.call.double(21).result()
    42
    """

    __slots__ = ("call",)  # it is the only attribute that is not in `__dict__`; see below

    def __init__(
        self,
        *,
        name: str = "wpc",
        engine: str = "local",
        client: Any = None,
        address: str | None = None,
        scheduler_file: str | None = None,
        resources: Mapping[str, float] | None = None,
        **options: Any,
    ) -> None:
        where = {
            "client": client,
            "address": address,
            "scheduler_file": scheduler_file,
            "resources": resources,
        }
        driver = Driver(
            check_name(name, "the pool's name"), PoolOptions().replace(options), make_engine(engine, where)
        )
        Workers.__init__(self, driver)
        self._results = ResultsCache(driver)
        Submission.__init__(self)
        Definitions.__init__(self, driver, name)
        FunctionCalls.__init__(self, driver)
        self._maps = RunningMaps()
        self.keep_partial: Callable[[dict[int, Any]], str] = lambda partial: "error.partial"
        self._listener_ids = itertools.count(1)
        # What `call` and its functions refer to is not this object, which refers to them, but another one of
        # the same state. So there is no cycle: the workers end as soon as nobody refers to the pool, nor to
        # one of its functions, and not when the collector comes.
        same = object.__new__(type(self))
        same.__dict__ = self.__dict__
        self.call = Procedures(same)
        self._procedures = weakref.ref(self.call)
        weakref.finalize(same, _release, driver, self._local)
        add_pool(same)

    def _changed(self) -> None:
        self._forget_checks()
        procedures = self._procedures()
        if procedures is not None:
            procedures.forget()

    def _replace_workers(self) -> None:
        if self.is_running:
            self.restart_workers()
            self.wait_until_ready()

    def __repr__(self) -> str:
        state = self._driver.core.state
        workers = _counted(len(state.slots), "worker") if self.is_running else "no workers"
        functions = _counted(len(state.registry.of_kind(Kind.FUNCTION)), "function")
        return f"<{type(self).__name__} {self.name}: {state.phase}, {workers}, {functions}>"

    def __dir__(self) -> list[str]:
        # What is for users; the rest is for maps, the notebook and the dashboard.
        return [name for name in super().__dir__() if not name.startswith("_") and name not in FOR_PARTS]

    def __reduce__(self) -> NoReturn:
        raise NestedCallError(
            f"the pool {self.name!r} cannot be sent to its own workers; "
            f"there, registered functions call each other by their names: clean(x)"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.stop_workers(drain=kind is None)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        await self.stop_workers_async(drain=kind is None)

    @property
    def wait_observer(self) -> WaitObserver | None:
        """What is told of waits that take long; see `WaitObserver`."""
        return self._driver.observer

    @wait_observer.setter
    def wait_observer(self, observer: WaitObserver | None) -> None:
        self._driver.observer = observer

    # -- calls ------------------------------------------------------------------------------------------

    def cancel_all(self, origin: Any = None) -> int:
        """Cancel every call that has not ended, like `CallFuture.cancel`.

        Parameters
        ----------
        origin : object, optional
            Only calls that carry this `origin`.

        Returns
        -------
        int
            The number of cancelled calls.
        """
        return self._driver.cancel_all(lambda call: origin is None or call.origin == origin)

    def cancel_call(self, call_id: str) -> bool:
        """Cancel the call that has this id, ``"call-12"``; return whether it had not ended before."""
        return self._driver.cancel_all(lambda call: call.correlation_id == call_id) > 0

    @property
    def cancelled_count(self) -> int:
        """How many calls, and items of maps, have been cancelled since the pool was created."""
        with self._driver.reading() as core:
            return core.state.call_counts.total().cancelled

    def cancelled_count_of(self, origin: Any) -> int:
        """Return how many calls of an origin have been cancelled; known for the last 64 origins."""
        return self._driver.core.state.call_counts.cancelled_by_origin.count(origin)

    def calls_at_workers(self, origin: Any) -> list[str]:
        """Return the correlation ids of those calls of an origin that workers hold.

        Includes calls whose future has ended but whose work in the worker has not.
        """
        with self._driver.reading() as core:
            return [
                call.correlation_id for call in core.dispatcher.in_flight.calls() if call.origin == origin
            ]

    def running_calls(self) -> list[RunningCall]:
        """Return the calls that workers have begun, and that have not ended, for the dashboard."""
        with self._driver.reading() as core:
            return core.running_calls(time.monotonic())

    def give_up(self, futures: list[CallFuture]) -> None:
        """Request the cancellation of calls, without waiting for anything."""
        self._driver.give_up(futures)

    # -- events and status ------------------------------------------------------------------------------

    def on_worker_event(self, *, listener: Callable[[WorkerEvent], object]) -> int:
        """Call `listener` with every event from now on, in a thread of the pool.

        Returns
        -------
        int
            The id that `off_worker_event` takes.
        """
        number = next(self._listener_ids)
        self._driver.listeners[number] = check_callable("listener", listener)
        return number

    def off_worker_event(self, *, listener_id: int) -> bool:
        """Remove a listener; return whether it was registered."""
        check_whole("listener_id", listener_id, 0)
        return self._driver.listeners.pop(listener_id, None) is not None

    def snapshot(self, *, measure: bool = True) -> PoolSnapshot:
        """Return a snapshot of the pool and its workers.

        Parameters
        ----------
        measure : bool
            Whether to measure the memory and the processor time of each worker, which is most of the work;
            otherwise they are those of the last snapshot.
        """
        check_flag("measure", measure)
        with self._driver.reading() as core:
            return core.snapshot(self.name, time.monotonic(), self._driver.facts(measure))

    def export(self, module: str = "pipeline", *, large: bool = False) -> str:
        """Return the definitions, and the options of the pool, as the text of a Python module.

        Its ``build_pool(**options)`` returns the same pool, without a notebook; its ``define(pool)`` adds the
        definitions to another one.

        Parameters
        ----------
        module : str
            The name that the module will have; only the example in its docstring uses it.
        large : bool
            Whether constants and shared arrays of more than 1 MB are written down, too, which makes a module
            that is slow to write, read and load.

        Raises
        ------
        DefinitionError
            If a constant holds an object that a module cannot write down, or is large.

        Examples
        --------
        >>> pool = WorkerProcedureCall()
        >>> _ = pool.define_worker_constant(name="SEED", value=42)
        >>> made = {}
        >>> exec(pool.export(), made)
        >>> [info.name for info in made["build_pool"]().get_worker_constants()]
        ['SEED']
        """
        check_name(module, "module's name")
        check_flag("large", large)

        def value_of(record: Any) -> Any:
            if record.kind is Kind.SHARED:
                return self.shared(record.name)
            buffers = (
                self._driver.changes.buffers(record.wire.buffers) if record.kind is Kind.CONSTANT else ()
            )
            return decode(record.wire.payload, buffers)

        changed = {
            field.name: value
            for field in dataclasses.fields(self.options)
            if (value := getattr(self.options, field.name)) != field.default
        }
        return module_text(self._records(), value_of, changed, module, self.current_seed, large)

    def export_stub(self, module: str | None = "pipeline") -> str:
        """Return the types of the functions, as the text of a stub: for type checkers and editors.

        As ``pipeline.pyi`` beside the module that `export` has written, it gives ``build_pool()`` a type of
        its own, ``Pool``, whose ``call`` knows each function as its cell annotates it: its arguments, each a
        value or the future of a call, and its result. What is not annotated is ``Any``.

        Parameters
        ----------
        module : str or None
            The name of the module. None: there is none; the stub has the type of a notebook's own ``wpc``.

        Examples
        --------
        >>> pool = WorkerProcedureCall()
        >>> _ = pool.define_worker_functions("def double(x: int) -> int: return 2 * x")
        >>> print(*[line for line in pool.export_stub().splitlines() if "__call__" in line])
            def __call__(self, /, x: Argument[int]) -> CallFuture[int]: ...
        """
        from .stubs.stub import stub_text  # here: few programs need it

        if module is not None:
            check_name(module, "module's name")
        return stub_text(self._records(), module)

    def _records(self) -> list[Record]:
        with self._driver.reading() as core:
            return [each for kind in Kind for each in core.state.registry.of_kind(kind)]

    def dashboard(self) -> Any:
        """Return the live dashboard, for a notebook to show."""
        # By name and on demand: the pool itself does not depend on a notebook.
        dashboard: Any = importlib.import_module(f"{__name__.partition('.')[0]}.dashboard")
        return dashboard.open_dashboard(self)


def _release(driver: Driver, local: LocalDefinitions) -> None:
    driver.abandon()
    local.close()


def _counted(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"
