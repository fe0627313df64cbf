"""The part of the public interface that calls functions which are not registered."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor
from pickle import PickleBuffer
from typing import Any

from .anonymous import AnonymousFunctions, label_of
from .checks import check_callable, check_iterable, check_text, shown
from .core.calls import NO_OPTIONS, Call
from .driver.driver import Driver
from .errors import OptionError
from .futures import CallFuture
from .maps.mapping import check_keywords, read_request, sent_keywords
from .maps.request import OnError
from .maps.results import MapResults
from .options import CallOptions
from .procedures import Procedure, read_function
from .unsendable import unsendable_argument
from .wire.codec import decode, encode
from .wire.unpicklable import find_unpicklable
from .wire.value_marks import FutureInValueError

__all__ = ["AsOfNow", "FunctionCalls"]


class FunctionCalls:
    """The methods of a pool that call any function: it need not be registered.

    Parameters
    ----------
    driver : Driver
        Does the I/O of the pool.
    """

    def __init__(self, driver: Driver) -> None:
        self._anonymous = AnonymousFunctions(driver)

    @abstractmethod
    def encoding_error(self, name: str, error: Exception, what: str) -> Exception:
        """Return the error for what cannot be pickled."""

    @abstractmethod
    def _submit_stream(self, name: str, body: bytes, buffers: Any, options: CallOptions) -> Any:
        """Submit a call of a function that yields."""

    @abstractmethod
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
        make_future: Any = None,
    ) -> CallFuture:
        """Submit a call."""

    @abstractmethod
    def submit(
        self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: CallOptions = NO_OPTIONS
    ) -> Any:
        """Submit a call of a registered function."""

    @abstractmethod
    def map(self, name: Any, *iterables: Iterable[Any], **options: Any) -> MapResults:
        """Call a registered function for each item."""

    def submit_function(
        self,
        function: Callable[..., Any],
        args: Iterable[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        options: CallOptions = NO_OPTIONS,
        *,
        label: str = "",
    ) -> Any:
        """Call a function that is not registered, as it is now, in a worker.

        One that can be imported is imported there. Another one, as of the notebook, is sent by value, with
        what it takes along of its closure and its globals. Where all that is fixed (numbers, texts, modules,
        functions of which the same is true), each worker is sent it once, and keeps it until it has changed
        here. Else each call has a copy of its own, of what it is when the call is made.

        Parameters
        ----------
        function : callable
            The function; a registered one, ``pool.call.NAME``, is called as such.
        args : iterable
            Its positional arguments.
        kwargs : mapping, optional
            Its keyword arguments.
        options : CallOptions
            The options of the call.
        label : str
            What it is called in errors, events and statistics; by default, by its own name.

        Returns
        -------
        CallFuture or ResultStream
            The future of its value; the second if an option of streams is given.

        Raises
        ------
        ArgumentsNotSerializableError
            If the function or an argument cannot be pickled.
        NotRunningError, NoWorkerError, SaturatedError
            As for a registered function.

        Examples
        --------
        >>> from wpc_magic.pool import WorkerProcedureCall
        >>> with WorkerProcedureCall() as pool:
        ...     pool.start_workers(1)
        ...     pool.submit_function(pow, (2, 10)).result()
        1024
        """
        __tracebackhide__ = True
        if options.__class__ is not CallOptions:
            raise OptionError(f"options takes CallOptions, not {shown(options)}")
        _check_not_cached(options)
        check_text("label", label)
        args = tuple(check_iterable("args", args))
        kwargs = {} if kwargs is None else check_keywords(kwargs)
        if isinstance(function, Procedure):
            registered, of_function = read_function(function, self)
            return self.submit(registered, args, kwargs, of_function if options is NO_OPTIONS else options)
        name, sent = self._anonymous.for_call(check_callable("function", function), label)
        arguments = (args, kwargs) if sent is None else (sent, (args, kwargs))
        try:
            body, buffers = name.pickled_call(sent, (args, kwargs))
        except Exception as error:
            if error.__class__ is FutureInValueError:
                return self._submit_dependent(  # type: ignore[attr-defined]
                    name,
                    arguments,
                    lambda: unsendable_argument("", args, kwargs),
                    options,
                    self.origin,  # type: ignore[attr-defined]
                    is_stream=options.is_for_stream,
                )
            what = find_unpicklable(function, label or label_of(function))
            raise self.encoding_error(name, error, what or unsendable_argument("", args, kwargs)) from error
        if options.is_for_stream:
            return self._submit_stream(name, body, buffers, options)
        return self._submit(name, body, buffers, 0, options, self.origin)  # type: ignore[attr-defined]

    def map_function(
        self,
        function: Callable[..., Any],
        *iterables: Iterable[Any],
        chunk_size: int | None = None,
        ordered: bool = True,
        on_error: OnError = "raise",
        kwargs: Mapping[str, Any] | None = None,
        label: str = "",
        **options: Any,
    ) -> MapResults:
        """Call a function that is not registered for each item, in all workers in parallel.

        What it takes along is that of this moment, whenever an item is sent.

        Parameters
        ----------
        function : callable
            As for `submit_function`.
        *iterables : iterable
            One for each argument.
        chunk_size, ordered, on_error, kwargs : object
            As for `map`.
        label : str
            As for `submit_function`.
        **options
            Fields of `CallOptions`.

        Returns
        -------
        MapResults
            An iterator, and an async iterator, of the results.

        Examples
        --------
        >>> from wpc_magic.pool import WorkerProcedureCall
        >>> with WorkerProcedureCall() as pool:
        ...     pool.start_workers(1)
        ...     pool.map_function(abs, range(-2, 3)).result()
        [2, 1, 0, 1, 2]
        """
        check_text("label", label)
        if isinstance(function, Procedure):
            options = {**options, "chunk_size": chunk_size, "ordered": ordered, "on_error": on_error}
            return self.map(function, *iterables, kwargs=kwargs, **options)
        how: dict[str, Any] = {"chunk_size": chunk_size, "ordered": ordered, "on_error": on_error}
        request = read_request("map_function", iterables, how, options)
        _check_not_cached(request.options)
        keywords = {} if kwargs is None else check_keywords(kwargs)
        name = self._anonymous.name_of(check_callable("function", function), label)
        runner: Any = self
        if not name.is_held:
            try:
                runner = _WithFunction(self, function)
            except Exception as error:
                what = find_unpicklable(function, label or label_of(function))
                raise self.encoding_error(name, error, what) from error
        sent = sent_keywords(runner, name, keywords)
        return MapResults(runner, request._replace(name=name, keywords=sent))

    def executor(self, **options: Any) -> Executor:
        """Return a `concurrent.futures.Executor` that runs its calls on this pool.

        Its ``shutdown`` waits for its own calls, and does not stop the pool.

        Parameters
        ----------
        **options
            Fields of `CallOptions`, for all its calls.

        Examples
        --------
        >>> from wpc_magic.pool import WorkerProcedureCall
        >>> with WorkerProcedureCall() as pool:
        ...     pool.start_workers(1)
        ...     pool.executor(timeout_ms=10_000).submit(pow, 2, 10).result()
        1024
        """
        from .executors.executor import PoolExecutor

        of_calls = NO_OPTIONS.replace(options)
        _check_not_cached(of_calls)
        return PoolExecutor(self, of_calls)  # type: ignore[arg-type]


def _check_not_cached(options: CallOptions) -> None:
    """Refuse the results cache: only of a registered function it is known what its values depend on."""
    if options.cache:
        raise OptionError("cache is for registered functions: define this one, and call it by its name")


class _WithFunction:
    """The pool, for a map whose function is sent with each chunk."""

    def __init__(self, pool: Any, function: Callable[..., Any]) -> None:
        self._pool = pool
        self._function = AsOfNow(function)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    def submit_chunk(self, *args: Any) -> CallFuture:
        """Submit a chunk."""
        future: CallFuture = self._pool.submit_chunk(*args, function=self._function)
        return future


class AsOfNow:
    """An object that is pickled as it was when this was made."""

    def __init__(self, value: object) -> None:
        body, buffers = encode(value)
        self._parts = body, [bytearray(buffer) for buffer in buffers]

    def __reduce__(self) -> tuple[Any, ...]:
        body, buffers = self._parts
        return decode, (body, [PickleBuffer(buffer) for buffer in buffers])
