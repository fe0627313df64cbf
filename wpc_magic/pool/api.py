"""`WorkerProcedureCall`: the pool as its users see it."""

from __future__ import annotations

import importlib
import itertools
import weakref
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from .checks import check_callable, check_flag, check_iterable, check_whole, shown
from .definitions import Definitions
from .driver import Driver
from .errors import ArgumentsNotSerializableError, NestedCallError, OptionError
from .futures import CallFuture
from .interrupts import Interrupts
from .local import LocalDefinitions
from .mapping import MapResults
from .mind.calls import NO_OPTIONS, Call
from .mind.events import WorkerEvent
from .mind.snapshot import PoolSnapshot
from .options import CallOptions, PoolOptions, check_count, check_name
from .procedures import Procedures
from .wire.codec import encode
from .workers import Workers

__all__ = ["WorkerProcedureCall"]


class WorkerProcedureCall(Workers, Definitions):
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
        driver = Driver(check_name(name, "the pool's name"), PoolOptions().replace(options))
        Workers.__init__(self, driver)
        Definitions.__init__(self, driver, name, lambda: self.call.forget())
        self.origin: Any = None
        self.call = Procedures(self)
        self._ids = itertools.count(1)
        self._listener_ids = itertools.count(1)
        self._streaming: set[str] = set()  # functions whose arguments are pickled in pieces
        weakref.finalize(self, _let_go, driver, self._local)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}: {self._driver.core.state.phase}>"

    def __reduce__(self) -> NoReturn:
        raise NestedCallError(
            f"the pool {self.name!r} cannot be sent to its own workers; "
            f"there, registered functions call each other by their names: clean(x)"
        )

    def __enter__(self) -> WorkerProcedureCall:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.stop_workers(drain=kind is None)

    async def __aenter__(self) -> WorkerProcedureCall:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        await self.stop_workers_async(drain=kind is None)

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
        if options.__class__ is not CallOptions:
            raise OptionError(f"options takes CallOptions, not {shown(options)}")
        if name.__class__ is not str:
            _name(name)
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
            core.dispatch.check(_name(name))
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
            block = driver.memory.store.place(buffers)
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
            check_count("chunk_size", chunk_size)
        check_flag("ordered", ordered)
        iterables = tuple(check_iterable("map, after the function's name,", each) for each in iterables)
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

    def calls_at_workers(self, origin: Any) -> list[str]:
        """Return what events call those calls of an origin that workers hold.

        Also those that have ended for whoever made them, and whose work has not ended yet.
        """
        with self._driver.deciding() as (core, _):
            return [call.correlation_id for call in core.dispatch.at_workers() if call.origin == origin]

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

    # -- what there is ----------------------------------------------------------------------------------

    def on_worker_event(self, *, listener: Callable[[WorkerEvent], object]) -> int:
        """Have `listener` called with every event from now on, in a thread of the pool's.

        Returns
        -------
        int
            What `off_worker_event` takes.
        """
        number = next(self._listener_ids)
        self._driver.listeners[number] = check_callable("listener", listener)
        return number

    def off_worker_event(self, *, listener_id: int) -> bool:
        """Call a listener no more; return whether it was there."""
        check_whole("listener_id", listener_id, 0)
        return self._driver.listeners.pop(listener_id, None) is not None

    def snapshot(self) -> PoolSnapshot:
        """Return a picture of the pool and its workers."""
        with self._driver.deciding() as (core, now):
            return core.snapshot(self.name, now, self._driver.facts())

    def dashboard(self) -> Any:
        """Return the live dashboard, for a notebook to show."""
        # By name and on demand: the pool itself knows no notebook, and works without one.
        door: Any = importlib.import_module(f"{__name__.partition('.')[0]}.dashboard")
        return door.open_dashboard(self)


def _let_go(driver: Driver, local: LocalDefinitions) -> None:
    driver.abandon()
    local.close()


def _name(name: object) -> str:
    if not isinstance(name, str):
        raise OptionError(f"the function is given by its name, not by {shown(name)}")
    return name
