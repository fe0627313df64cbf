"""The methods of a pool that call a function for many items."""

from __future__ import annotations

import dataclasses
import inspect
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from ..checks import check_flag, check_iterable, check_whole, shown
from ..core.calls import NO_OPTIONS
from ..errors import OptionError
from ..functions import Functions
from ..options import CallOptions, check_choice, check_count, did_you_mean
from ..procedures import FunctionDetails, Procedure, read_function, read_signature
from ..unsendable import unsendable_argument
from ..wire.chunk_arguments import Keywords
from ..wire.value_marks import FutureInValueError
from .items import Items, count_items
from .request import ChunkRunner, MapRequest, OnError
from .results import MapResults
from .retries import retry_options
from .running import RunningMap, RunningMaps

__all__ = ["Maps", "check_keywords", "read_request", "sent_keywords"]


class MapPool(ChunkRunner, Protocol):
    """What these methods need from the pool that has them."""

    def describe(self, name: str) -> FunctionDetails | None:
        """Return what is known about a function."""

    def encoding_error(self, name: str, error: Exception, what: str) -> Exception:
        """Return the error of arguments that cannot be sent."""


class Maps(Functions):
    """The methods of a pool for maps."""

    _maps: RunningMaps

    def map(
        self: MapPool,
        name: str | Procedure,
        *iterables: Iterable[Any],
        chunk_size: int | None = None,
        ordered: bool = True,
        on_error: OnError = "raise",
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> MapResults:
        """Call a function for each item, in all workers in parallel.

        Parameters
        ----------
        name : str or Procedure
            The function: its name, or ``pool.call.NAME``, whose options are those of the calls.
        *iterables : iterable
            One for each argument; the shortest ends the map. They may be infinite: items are taken as needed.
        chunk_size : int, optional
            How many items are sent together; by default as many as take about 10 ms; of coroutines, which
            wait most of their time, fewer. Also ``chunksize``, as other pools call it.
        ordered : bool
            Whether results are in the order of the items, or in the order of completion.
        on_error : {"raise", "return", "skip"}
            The first item that fails ends the map with its exception; or the exception stands in the place of
            its value; or the item has no result. The `errors` of the results are the exceptions by item.
        kwargs : mapping, optional
            Keyword arguments of the function, which are the same for all items. They are pickled once, now,
            and sent with each chunk, whose items share them. A large array lies in shared memory once; leave
            it as it is until the map has ended.
        **options
            Fields of `CallOptions`. Any other keyword that the function takes is one of its arguments, as if
            it stood in `kwargs`.

        Returns
        -------
        MapResults
            An iterator, and an async iterator, of the results.

        Examples
        --------
        >>> from wpc_magic.pool import WorkerProcedureCall
        >>> with WorkerProcedureCall() as pool:
        ...     _ = pool.define_worker_function(name="power", worker_func="def power(x, n=2): return x**n")
        ...     _ = pool.start_workers(1)
        ...     list(pool.map("power", [1, 2, 3])), list(pool.map(pool.call.power, [1, 2, 3], n=3))
        ([1, 4, 9], [1, 8, 27])
        """
        name, options_of_it = read_function(name, self)
        keywords, options = _keywords(self, name, kwargs, options)
        how: dict[str, Any] = {"chunk_size": chunk_size, "ordered": ordered, "on_error": on_error}
        request = read_request("map", iterables, how, options, options_of_it)
        self.check_arguments(name, iterables, keywords)
        sent = sent_keywords(self, name, keywords)
        return MapResults(self, request._replace(name=name, keywords=sent))

    def starmap(
        self: MapPool,
        name: str | Procedure,
        items: Iterable[Iterable[Any]],
        *,
        chunk_size: int | None = None,
        ordered: bool = True,
        on_error: OnError = "raise",
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> MapResults:
        """Call a function for each item, which has all arguments of one call: ``f(*item)``.

        Parameters
        ----------
        name : str or Procedure
            The function: its name, or ``pool.call.NAME``.
        items : iterable of tuple
            The arguments of each call, which need not be equally many.
        chunk_size, ordered, on_error, kwargs, **options
            As of `map`.

        Returns
        -------
        MapResults
            An iterator, and an async iterator, of the results.

        Examples
        --------
        >>> from wpc_magic.pool import WorkerProcedureCall
        >>> with WorkerProcedureCall() as pool:
        ...     _ = pool.define_worker_function(name="power", worker_func="def power(x, n=2): return x**n")
        ...     _ = pool.start_workers(1)
        ...     list(pool.starmap("power", [(2, 10), (3,)]))
        [1024, 9]
        """
        name, options_of_it = read_function(name, self)
        keywords, options = _keywords(self, name, kwargs, options)
        how: dict[str, Any] = {"chunk_size": chunk_size, "ordered": ordered, "on_error": on_error}
        request = read_request("starmap", (items,), how, options, options_of_it, star=True)
        if isinstance(items, list | tuple) and items and isinstance(items[0], list | tuple):
            self.check_arguments(name, items[0], keywords)  # the others are checked in the workers
        sent = sent_keywords(self, name, keywords)
        return MapResults(self, request._replace(name=name, keywords=sent))

    def map_made(self, chunks: Any) -> None:
        """Note that a map has been made."""
        self._maps.add(chunks)

    def running_maps(self) -> list[RunningMap]:
        """Return the maps that go on, the latest last: how many items have ended, of how many, and how fast.

        A map goes on until its caller has been given its last result.

        Examples
        --------
        >>> from wpc_magic.pool import WorkerProcedureCall
        >>> with WorkerProcedureCall() as pool:
        ...     _ = pool.define_worker_function(name="double", worker_func="def double(x): return 2 * x")
        ...     _ = pool.start_workers(1)
        ...     results = pool.map("double", range(1000))
        ...     first = next(results)
        ...     [(each.function, each.total, each.done > 0) for each in pool.running_maps()]
        [('double', 1000, True)]
        """
        return self._maps.seen(time.monotonic())

    def stop_map(self, number: int) -> bool:
        """Cancel what a map has in flight, which ends it; return whether it was going on.

        Who asks for its next result gets a CancelledError. Other maps and calls go on.

        Parameters
        ----------
        number : int
            Its number, of `running_maps`.
        """
        chunks = self._maps.find(check_whole("number", number, 1))
        if chunks is None:
            return False
        chunks.stop()
        return True

    def has_timeout(self, name: str, options: CallOptions) -> bool:
        """Return whether calls of a function have a timeout."""
        state = self._driver.core.state
        record = state.registry.records.get(name)
        own = record.options.timeout_ms if record is not None else None
        return any(limit is not None for limit in (options.timeout_ms, own, state.options.call_timeout_ms))

    def mean_s(self, name: str) -> float | None:
        """Return the mean run time of a function, in seconds; None if not known yet."""
        state = self._driver.core.state
        record = state.registry.records.get(name)
        stats = state.stats.get(record.key) if record is not None else None
        return stats.mean_s if stats is not None else None

    def retry_options(self, name: str, options: CallOptions) -> CallOptions | None:
        """Return the options of calls that are retried after some errors; None: these are not."""
        record = self._driver.core.state.registry.records.get(name)
        return retry_options(options, record.options if record is not None else NO_OPTIONS)

    def runs_alone(self, name: str) -> bool:
        """Return whether each item of a map has to be a call of its own.

        The coroutines of one call would run at the same time, and so be more than the function may have.
        """
        record = self._driver.core.state.registry.records.get(name)
        return record is not None and record.is_async and record.at_most is not None

    def interleaves(self, name: str) -> bool:
        """Return whether a worker runs many calls of a function at a time: coroutines."""
        record = self._driver.core.state.registry.records.get(name)
        return record is not None and record.is_async


def read_request(
    who: str,
    iterables: Sequence[Any],
    how: dict[str, Any],
    others: dict[str, Any],
    options: CallOptions = NO_OPTIONS,
    star: bool = False,
) -> MapRequest:
    """Check what a map was given, and return its request, to which the function is to be added.

    Parameters
    ----------
    who : str
        The method, for errors.
    iterables : sequence of iterable
        What it goes over.
    how : dict
        ``chunk_size``, ``ordered`` and ``on_error``.
    others : dict
        The options, and ``chunksize``.
    options : CallOptions
        The options that these change.
    star : bool
        As of `Items`.

    Raises
    ------
    OptionError
        If something is not valid.
    """
    if not iterables:
        raise OptionError(f"{who} takes at least one iterable after the function's name")
    if "chunksize" in others:
        if how["chunk_size"] is not None:
            raise OptionError(f"{who} takes chunk_size or chunksize, which is the same, not both")
        how["chunk_size"] = others.pop("chunksize")
    if how["chunk_size"] is not None:
        check_count("chunk_size", how["chunk_size"])
    check_choice("on_error", how["on_error"], "raise", "return", "skip")
    check_flag("ordered", how["ordered"])
    total = count_items(iterables)  # before: an iterator has no length
    # Those that can be cut into pieces stay as they are; see `Items`.
    what = f"{who}, after the function's name,"
    checked = [
        each if type(each) in (list, tuple, range) else check_iterable(what, each) for each in iterables
    ]
    if others:
        options = options.replace(others)
    if options.keep:
        raise OptionError("keep is for single calls: the values of a map are taken one after another")
    # What is submitted without options is submitted faster.
    options = NO_OPTIONS if options == NO_OPTIONS else options
    return MapRequest("", Items(checked, star), total, None, options=options, **how)


def _keywords(
    pool: MapPool, name: str, kwargs: object, others: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the keyword arguments of the function, and the options."""
    keywords = {} if kwargs is None else check_keywords(kwargs)
    options = {}
    for word, value in others.items():
        if word in _OPTIONS or word == "chunksize":
            options[word] = value
            continue
        _check_keyword(pool, name, word)
        if word in keywords:
            raise OptionError(f"map takes {word} once: in kwargs, or by itself")
        keywords[word] = value
    return keywords, options


def check_keywords(kwargs: object) -> dict[str, Any]:
    """Return keyword arguments as a dict, if they are a mapping of names."""
    if not isinstance(kwargs, Mapping) or not all(isinstance(word, str) for word in kwargs):
        raise OptionError(f"kwargs takes a dict of names, not {shown(kwargs)}")
    return dict(kwargs)


_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
_OPTIONS = tuple(field.name for field in dataclasses.fields(CallOptions))
_ALL_OPTIONS = ("chunk_size", "ordered", "on_error", "kwargs", *_OPTIONS)


def _check_keyword(pool: MapPool, name: str, word: str) -> None:
    """Raise an OptionError for a keyword that is neither an option nor surely an argument of the function."""
    about = pool.describe(name)
    if about is None:
        return  # the function is not defined, which is said later
    signature = read_signature(about.info.parameter_signature) if about.has_exact_signature else None
    if signature is not None:
        parameters = signature.parameters.values()
        named = [each.name for each in parameters if each.kind in _BY_NAME]
        if word in named:
            return
        if not any(each.kind is each.VAR_KEYWORD for each in parameters):
            known = did_you_mean(word, [*_ALL_OPTIONS, *named])
            raise OptionError(
                f"unknown option {word!r}.{known} The options are: {', '.join(_ALL_OPTIONS)}; "
                f"and {name} takes no such keyword"
            )
    near = did_you_mean(word, _ALL_OPTIONS)
    if near:
        raise OptionError(
            f"unknown option {word!r}.{near} If {name} takes it, write kwargs={{{word!r}: ...}}"
        )


def sent_keywords(pool: MapPool, name: str, keywords: dict[str, Any]) -> Keywords | dict[str, Any] | None:
    """Return keyword arguments as they are sent; those with the future of a call are pickled each time."""
    if not keywords:
        return None
    try:
        return Keywords(keywords)
    except FutureInValueError:
        return keywords
    except Exception as error:
        raise pool.encoding_error(name, error, unsendable_argument("", (), keywords)) from error
