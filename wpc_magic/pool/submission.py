"""The part of the public interface that makes calls: arguments are checked, pickled, and submitted."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .broadcast import Broadcast
from .caching.calls import CachedCalls
from .caching.results import ResultsCache
from .checks import check_iterable, shown
from .core.calls import NO_OPTIONS, Call, WholeChunk
from .core.stream_calls import StreamCall
from .dependent_calls import DependentCalls
from .driver.driver import Driver
from .errors import ArgumentsNotSerializableError, NestedCallError, NotRunningError, OptionError
from .function_calls import FunctionCalls
from .functions import Functions
from .futures import CallFuture
from .interrupts.hold import HeldInterrupts
from .kept_futures import KeptFuture
from .options import PRIVATE, CallOptions, shown_name
from .seeds import CallSeeds
from .signatures import accept_all, argument_check, one_line, plain_counts
from .stream_futures import StreamFuture
from .streams import ResultStream
from .unsendable import unsendable_argument, unsendable_item
from .wire.codec import encode, encode_arguments
from .wire.unpicklable import explain
from .wire.value_marks import FutureInValueError
from .workers import Workers

__all__ = ["Submission"]


class Submission(Workers, CachedCalls, FunctionCalls, DependentCalls, Functions):
    """The methods of a pool that make calls.

    Attributes
    ----------
    find_origin : callable or None
        Asked once for each call for its `origin`; see `WorkerProcedureCall`.
    when_not_running : callable or None
        Called when a call is made while the workers are stopped: it may start them.
        None: the call is refused.
    """

    _results: ResultsCache
    _seed: CallSeeds | None

    def __init__(self) -> None:
        self.find_origin: Callable[[], Any] | None = None
        self.when_not_running: Callable[[], object] | None = None
        self._origin: Any = None
        self._ids = itertools.count(1)
        self._argument_checks: dict[str, Callable[..., object]] = {}  # by function, made for the first call
        self._plain_counts: dict[str, range] = {}  # numbers of arguments that need no check
        self._yielding: set[str] = set()  # functions whose calls are streams
        self._caching: set[str] = set()  # functions whose values are stored
        self._streaming: set[str] = set()  # functions whose arguments are pickled in pieces
        self._seed = None  # else each call would look for it in all classes

    def _forget_checks(self) -> None:
        """Forget what is known of the arguments of all functions: some are defined anew."""
        self._argument_checks.clear()
        self._plain_counts.clear()
        self._yielding.clear()
        self._caching.clear()

    @property
    def origin(self) -> Any:
        """What a call carries that is made here and now.

        To set it is to set it for all calls from now on, in all threads, in place of `find_origin`.

        Examples
        --------
        >>> from wpc_magic.pool import WorkerProcedureCall
        >>> pool = WorkerProcedureCall()
        >>> pool.origin = "the nightly run"
        >>> pool.origin
        'the nightly run'
        """
        find_origin = self.find_origin
        return self._origin if find_origin is None else find_origin()

    @origin.setter
    def origin(self, value: Any) -> None:
        self.find_origin, self._origin = None, value

    def submit(
        self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: CallOptions = NO_OPTIONS
    ) -> Any:
        """Submit a call; ``pool.call.NAME(...)`` is the usual way to write it.

        Returns
        -------
        CallFuture or ResultStream
            The second if the function yields, or an option of streams is given.

        Raises
        ------
        TypeError
            If the function does not take these arguments.
        NotRunningError, FunctionNotDefinedError, ArgumentsNotSerializableError, RequirementMissingError
        NoWorkerError, SaturatedError
            Checked in this order; the first that applies is raised.
        """
        __tracebackhide__ = True
        if options is not NO_OPTIONS:
            if options.__class__ is not CallOptions:
                raise OptionError(f"options takes CallOptions, not {shown(options)}")
            if options.is_for_stream:
                return self._stream(name, args, kwargs, options)
            if options.cache and not options.keep:
                return self._cached_call(_check_function_name(name), args, kwargs, options)
        if name.__class__ is not str:
            _check_function_name(name)
        try:
            if kwargs or len(args) not in self._plain_counts.get(name, ()):
                check = self._argument_checks.get(name) or self._argument_check(name)
                if name in self._yielding:
                    return self._stream(name, args, kwargs, options)
                if name in self._caching and options.cache is None and not options.keep:
                    return self._cached_call(name, args, kwargs, options)
                check(*args, **kwargs)
        except Exception:
            if name in self._yielding or (name in self._caching and options.cache is None):
                raise  # the arguments were checked
            self.check_arguments(name, args, kwargs)
        try:
            seed = self._seed
            if seed is None:
                arguments: Any = (args, kwargs)
                body, buffers = encode_arguments(args, kwargs, name in self._streaming)
            else:
                arguments = seed.of_call(args, kwargs)
                body, buffers = encode(arguments, name in self._streaming)
        except Exception as error:
            # A cell in the background reads variables, and calls `result` of a future itself.
            if error.__class__ is FutureInValueError and not name.startswith(PRIVATE):
                return self._submit_dependent(
                    name,
                    arguments,
                    lambda: unsendable_argument(self._signature_of(name), args, kwargs),
                    options,
                    self.origin,
                )
            what = unsendable_argument(self._signature_of(name), args, kwargs)
            raise self.encoding_error(name, error, what) from error
        if buffers:
            return self._submit(name, body, buffers, 0, options, self.origin)
        driver, find_origin = self._driver, self.find_origin
        origin = self._origin if find_origin is None else find_origin()
        call = Call(next(self._ids), name, body, (), 0, options, None, origin)  # by place: that is quicker
        future = call.future = KeptFuture(call, driver) if options.keep else CallFuture(call, driver)
        try:
            driver.submit(call)
            return future
        except NotRunningError as error:
            self._start_for_call(error)
        driver.submit(call)  # outside of the handler: its own error has no other context
        return future

    def _stream(
        self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: CallOptions
    ) -> ResultStream:
        self.check_arguments(_check_function_name(name), args, kwargs)
        if options.keep:
            raise OptionError(
                "keep is for calls that return a value: the items of a stream are taken one by one"
            )
        if options.cache:
            raise OptionError("cache is for calls that return a value: the items of a stream are not stored")
        try:
            seed = self._seed
            arguments = (args, kwargs) if seed is None else seed.of_call(args, kwargs)
            body, buffers = encode(arguments, name in self._streaming)
        except Exception as error:
            if error.__class__ is FutureInValueError and not name.startswith(PRIVATE):
                return self._submit_dependent(  # type: ignore[no-any-return]
                    name,
                    arguments,
                    lambda: unsendable_argument(self._signature_of(name), args, kwargs),
                    options,
                    self.origin,
                    is_stream=True,
                )
            what = unsendable_argument(self._signature_of(name), args, kwargs)
            raise self.encoding_error(name, error, what) from error
        return self._submit_stream(name, body, buffers, options)

    def _submit_stream(self, name: str, body: bytes, buffers: Any, options: CallOptions) -> ResultStream:
        if options is NO_OPTIONS:  # which stands for calls that need not be looked at
            options = CallOptions()
        origin = self.origin
        if not self.is_running:
            self._start_for_call(self._driver.core.state.not_running())
        with HeldInterrupts():  # a stream that nobody has would hold its worker for ever
            future: Any = self._submit(name, body, buffers, 0, options, origin, StreamCall)
            return ResultStream(future, self._driver)

    def _start_for_call(self, error: NotRunningError) -> None:
        """Have the workers started for a call that was refused because they are not; else raise the error."""
        if self.when_not_running is None or self._driver.core.state.phase != "stopped":
            raise error
        self.when_not_running()

    def check_arguments(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Check that a function takes these arguments, if its signature is known.

        Raises
        ------
        TypeError
            If it does not.
        """
        __tracebackhide__ = True
        if not isinstance(kwargs, Mapping) or not all(isinstance(key, str) for key in kwargs):
            raise OptionError(f"kwargs takes a dict of names, not {shown(kwargs)}")
        check_iterable("args", args)
        self._forget_check(name)  # another thread may have defined it anew since
        try:
            self._argument_check(name)(*args, **kwargs)
        except TypeError as error:
            wrong = TypeError(one_line(error))
            CallFuture.on_interrupt(wrong)
            try:
                raise wrong from None
            finally:
                del wrong  # its traceback refers to this frame

    def _forget_check(self, name: str) -> None:
        self._argument_checks.pop(name, None)
        self._plain_counts.pop(name, None)
        self._yielding.discard(name)
        self._caching.discard(name)

    def _argument_check(self, name: str) -> Callable[..., object]:
        about = self.describe(name)
        if about is None:
            return accept_all
        signature = about.info.parameter_signature
        check = argument_check(name, signature) if about.has_exact_signature else accept_all
        is_plain = not (about.info.is_generator or about.info.cache)
        counts = plain_counts(check) if is_plain else range(0)
        (self._yielding.add if about.info.is_generator else self._yielding.discard)(name)
        (self._caching.add if about.info.cache else self._caching.discard)(name)
        self._argument_checks[name], self._plain_counts[name] = check, counts
        if self.describe(name) is not about:  # defined anew meanwhile
            self._forget_check(name)
        return check

    def submit_chunk(
        self,
        name: str,
        columns: tuple[Any, ...],
        count: int,
        options: CallOptions,
        origin: Any,
        keep_going: bool,
        attempts: int = 0,
        function: Any = None,
    ) -> CallFuture:
        """Submit one call that runs the function for each item; its value is `(values, failures)`.

        Parameters
        ----------
        name : str
            The function.
        columns : tuple
            The arguments, see `wire.chunk_arguments`.
        count : int
            The number of items. If an item is, or contains, the future of a call, it must be 1; else
            `FutureInValueError` is raised: the others need not wait for it.
        options : CallOptions
            The options of the call.
        origin : object
            Where the map was made.
        keep_going : bool
            Whether it goes on after an item that has failed.
        attempts : int
            How often these items have failed: they run after a delay.
        function : object
            What is sent with the items: a function that is not registered, and that workers do not hold.
        """
        try:
            sent = columns if function is None else (function, columns)
            body, buffers = encode(sent, name in self._streaming)
        except Exception as error:
            if error.__class__ is FutureInValueError:
                if count > 1:
                    raise
                return self._submit_dependent(  # type: ignore[no-any-return]
                    name,
                    sent,
                    lambda: unsendable_item(self._signature_of(name), columns, count),
                    options,
                    origin,
                    1,
                    keep_going,
                    attempts,
                )
            what = unsendable_item(self._signature_of(name), columns, count)
            raise self.encoding_error(name, error, what) from error
        make = WholeChunk if keep_going else Call
        future = self._submit(name, body, buffers, count, options, origin, make, attempts)
        future.chunk = body
        if buffers:
            future.chunk_is_whole = False
        return future

    def _signature_of(self, name: str) -> str:
        about = self.describe(name)
        return about.info.parameter_signature if about is not None and about.has_exact_signature else ""

    def encoding_error(self, name: str, error: Exception, what: str) -> Exception:
        """Return the error of arguments that cannot be sent; `what` is the part that cannot be pickled."""
        self._driver.check()
        with self._driver.reading() as core:
            core.dispatcher.check(_check_function_name(name))
        if isinstance(error, NestedCallError):
            return error
        return ArgumentsNotSerializableError(
            f"the arguments of {shown_name(name)} cannot be sent to a worker: {explain(what, error)}"
        )

    def _submit(
        self,
        name: str,
        body: bytes,
        buffers: Any,
        items: int,
        options: CallOptions,
        origin: Any,
        make: type[Call] = Call,
        attempts: int = 0,
        make_future: Callable[[Call, Driver], CallFuture] | None = None,
    ) -> CallFuture:
        driver = self._driver
        if make_future is None:
            make_future = StreamFuture if make.is_stream else KeptFuture if options.keep else CallFuture
        if not buffers:
            call = make(next(self._ids), name, body, items=items, options=options, origin=origin)
            call.attempts = attempts
            future = call.future = make_future(call, driver)
            try:
                driver.submit(call)
                return future
            except NotRunningError as error:
                self._start_for_call(error)
            driver.submit(call)
            return future
        if not self.is_running:
            self._start_for_call(driver.core.state.not_running())
        # The pickle itself has large pieces: next time it is written in pieces from the start.
        (self._streaming.discard if body[0] else self._streaming.add)(str.__str__(name))
        with HeldInterrupts():  # a block that is leased and not released would leak
            # Copied: the call may be sent later, or again, and the caller may change an array meanwhile.
            store, dispatcher = driver.memory.store, driver.core.dispatcher
            # No other call has the same array where there is no other call.
            is_alone = not (store.keeps_contents or dispatcher.in_flight.count or dispatcher.queued.count)
            place = store.put if is_alone else store.place
            block = place(buffers)
            copies = () if block is not None else [memoryview(bytes(buffer)) for buffer in buffers]
            call = make(next(self._ids), name, body, copies, items=items, options=options, origin=origin)
            call.block, call.attempts = block, attempts
            future = call.future = make_future(call, driver)
            try:
                driver.submit(call)
            except BaseException:
                if block is not None:
                    block.release()
                raise
        return future

    def broadcast(self, name: str, /, *args: Any, **kwargs: Any) -> Broadcast:
        """Call a function once in every worker.

        Returns
        -------
        Broadcast
            A dict: the future of each worker, by the worker's number.
        """
        self.check_arguments(_check_function_name(name), args, kwargs)
        if not self.is_running:
            self._start_for_call(self._driver.core.state.not_running())
        workers = [
            state.worker_id
            for state in self.get_worker_health_states()
            if state.health_state not in ("failed", "stopped")
        ]
        if not workers:
            with self._driver.reading() as core:
                core.dispatcher.check(_check_function_name(name))
        return Broadcast(
            name,
            {worker: self.submit(name, args, kwargs, CallOptions(worker_id=worker)) for worker in workers},
        )


def _check_function_name(name: object) -> str:
    if not isinstance(name, str):
        raise OptionError(f"the function is given by its name, not by {shown(name)}")
    return name
