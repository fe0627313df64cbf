"""The methods of a pool for calls whose values are stored on disk, and found again."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from ..checks import check_text, shown
from ..core.calls import Call
from ..driver.driver import Driver
from ..errors import OptionError
from ..futures import CallFuture
from ..options import CallOptions, did_you_mean
from ..procedures import FunctionDetails
from ..seeds import CallSeeds
from ..wire import protocol
from ..wire.codec import encode
from ..wire.value_marks import FutureInValueError
from .results import CachedFunctionInfo, Entry, ResultsCache

__all__ = ["CachedCalls"]


class _CachingPool(Protocol):
    """What these methods need from the pool that has them."""

    _driver: Driver
    _seed: CallSeeds | None
    _results: ResultsCache
    _streaming: set[str]
    _ids: Iterator[int]
    origin: Any

    def describe(self, name: str) -> FunctionDetails | None: ...

    def check_arguments(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None: ...

    def submit(self, name: str, args: Any, kwargs: Any, options: CallOptions = ...) -> Any: ...

    def _submit(self, *args: Any, **kwargs: Any) -> CallFuture: ...

    def _submit_dependent(self, *args: Any) -> CallFuture: ...


class StoringFuture(CallFuture):
    """The future of a call whose value is stored when it has ended, before anybody has it.

    Whoever has it may change it: an array lies in the memory that the worker has sent.
    """

    def __init__(self, entry: Entry, call: Call, driver: Any) -> None:
        super().__init__(call, driver)
        self._entry: Entry | None = entry
        self._storing = threading.RLock()

    def settle(self, answer: Any) -> None:
        """End the future; see `CallFuture.settle`."""
        super().settle(answer)
        if type(answer) is tuple and answer[0] == protocol.VALUE:
            self._driver.call_soon(self._store)  # also if nobody asks for it

    def _store(self) -> None:
        if self._entry is None:
            return
        with self._storing:
            entry, answer = self._entry, self._answer
            if entry is not None and type(answer) is tuple and answer[0] == protocol.VALUE:
                entry.keep(answer[1], answer[2])
            self._entry = None

    def _run_callbacks(self) -> None:
        self._store()  # done-callbacks find it stored
        super()._run_callbacks()

    def _settled(self) -> tuple[bool, Any]:
        self._store()
        try:
            return super()._settled()
        finally:  # frames of an error have this one behind them
            del self

    def value_body(self) -> Any:
        """Return the pickle of the value; see `CallFuture.value_body`."""
        self._store()
        return super().value_body()


class FoundFuture(CallFuture):
    """The future of a call that has not run: its value was found in the results cache."""

    from_cache = True

    def __init__(self, value: Any, call: Call, driver: Any) -> None:
        super().__init__(call, driver)
        self.settle((protocol.VALUE, b"", (), 0, 0))
        self._outcome, self._answer = (True, value), True


class CachedCalls:
    """The methods of a pool for its results cache."""

    def cache_of_map(self: _CachingPool, name: str, options: CallOptions) -> ResultsCache | None:
        """Return where the values of a map are stored; None: they are not."""
        if options.cache is None:
            about = self.describe(name)
            return self._results if about is not None and about.info.cache else None
        return self._results if options.cache else None

    def get_cached_results(self: _CachingPool) -> list[CachedFunctionInfo]:
        """Return what the results cache holds of each function, sorted by name.

        It is that of all pools that use the folder; the hits are this pool's.
        """
        return self._results.infos()

    def clear_cached_results(self: _CachingPool, *names: str) -> list[CachedFunctionInfo]:
        """Remove stored values, of these functions or of all, and return what was removed.

        Raises
        ------
        OptionError
            If nothing is stored of a function.
        """
        infos = self._results.infos()
        known = [info.name for info in infos]
        for name in names:
            if check_text("names", name) not in known:
                raise OptionError(f"nothing is stored of {shown(name)}.{did_you_mean(name, known)}")
        removed = [info for info in infos if not names or info.name in names]
        self._results.clear(info.name for info in removed)
        return removed

    def _cached_call(
        self: _CachingPool, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: CallOptions
    ) -> CallFuture:
        """Return the future of a call, whose value may be stored."""
        self.check_arguments(name, args, kwargs)
        about = self.describe(name)
        if about is not None and about.info.is_generator:
            raise OptionError(f"cache is for calls that return a value, and {name} yields")
        seed, seeded = self._seed, None
        if options.worker_id is not None and not options.cache:  # what matters is where it runs
            seed = None
            entry = None
        else:
            if seed is not None and self._results.draws(name):
                seeded = seed.of_call(args, kwargs)
            entry = self._results.entry(name, args, kwargs, seeded)
        if entry is None and seeded is None:
            return self.submit(name, args, kwargs, options.replace({"cache": False}))  # type: ignore[no-any-return]
        if seed is not None and seeded is None:
            seeded = seed.of_call(args, kwargs)  # so that later calls draw what they draw without a cache
        found = None if entry is None else entry.find()
        if found is not None:
            call = Call(next(self._ids), name, b"", options=options, origin=self.origin)
            call.future = FoundFuture(found[0], call, self._driver)
            return call.future  # type: ignore[no-any-return]
        arguments = (args, kwargs) if seeded is None else seeded
        try:
            body, buffers = encode(arguments, name in self._streaming)
        except FutureInValueError:
            return self._submit_dependent(name, arguments, lambda: "an argument", options, self.origin)
        make_future = functools.partial(StoringFuture, entry) if entry is not None else None
        return self._submit(name, body, buffers, 0, options, self.origin, make_future=make_future)
