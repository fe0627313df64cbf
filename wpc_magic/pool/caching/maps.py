"""A map whose values are stored item by item: only items without one are sent."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ..futures import CallFuture
from ..maps.chunks import Chunks
from ..maps.items import Items
from ..maps.request import ChunkRunner, MapRequest
from ..maps.values import DeliveredValues
from ..wire.chunk_arguments import Keywords, arguments_of_one
from ..wire.codec import encode
from .results import Entry, ResultsCache

__all__ = ["CachedChunks"]


class _Run(NamedTuple):
    """Items one after another, all of which have a stored value, or none of which has one."""

    items: Sequence[Any]
    entries: list[Entry | None]
    values: list[Any] | None


class CachedChunks(Chunks):
    """The chunks of a map with a results cache.

    Parameters
    ----------
    pool : ChunkRunner
        Makes the calls.
    request : MapRequest
        What is to be done.
    cache : ResultsCache
        Where values are stored.
    """

    def __init__(self, pool: ChunkRunner, request: MapRequest, cache: ResultsCache) -> None:
        super().__init__(pool, request)
        self._cache = cache
        self._kwargs = {} if request.keywords is None else _keywords(request.keywords)
        self._runs: dict[int, _Run] = {}  # by the number of the first item
        self._looked_up = 0
        self._items = self._found = _CachedItems(request.items, self._look_up)
        self._delivered = _StoringValues(self._store)

    def _look_up(self, items: Sequence[Any]) -> list[_Run]:
        """Return items that were taken as runs of those that have a value, and those that have none."""
        columns = self._found.columns(items)
        calls = [arguments_of_one(columns, n)[0] for n in range(len(items))]
        first, self._looked_up = self._looked_up, self._looked_up + len(items)
        seed = self._seed
        seeds = [None if seed is None else seed.of_chunk((), first + n) for n in range(len(items))]
        entries = self._cache.entries(self.name, calls, self._kwargs, seeds)
        found = [None if entry is None else entry.find() for entry in entries]
        runs: list[_Run] = []
        start = 0
        for n in range(1, len(items) + 1):
            if n == len(items) or (found[n] is None) != (found[start] is None):
                values = None if found[start] is None else [each[0] for each in found[start:n] if each]
                runs.append(_Run(items[start:n], entries[start:n], values))
                start = n
        return runs

    def _submit(self, items: Sequence[Any], first: int, attempts: int = 0) -> CallFuture:
        if not attempts:
            run = self._runs[first] = self._found.latest
            if run.values is not None:
                known: Any = _Known(run.values)
                return known  # type: ignore[no-any-return]
        return super()._submit(items, first, attempts)

    def _take_rest(self) -> None:
        before = dict(self._rest)
        super()._take_rest()
        for first, run in list(self._runs.items()):
            numbers = range(first, first + len(run.items))
            new = {n: self._rest[n] for n in numbers if n in self._rest and n not in before}
            if new:
                failed = [n for n in range(len(run.items)) if first + n not in new]
                self._store(first, [new.get(n) for n in numbers], failed)

    def _store(self, first: int, values: list[Any], failed: Any) -> None:
        """Store the values of a chunk, which nobody has seen yet."""
        run = self._runs.pop(first, None)
        if run is None or run.values is not None:
            return
        known: dict[Any, bool] = {}
        for n, (value, entry) in enumerate(zip(values, run.entries, strict=False)):
            if entry is not None and n not in failed and self._cache.is_as_it_was(entry, known):
                try:
                    body, buffers = encode(value)
                except Exception:  # what a worker could pickle, but this process cannot
                    continue
                self._cache.keep(entry, body, buffers)


class _CachedItems(Items):
    """Takes the items of a map run by run.

    Attributes
    ----------
    latest : _Run
        The run that was taken last.
    """

    def __init__(self, items: Items, look_up: Callable[[Sequence[Any]], list[_Run]]) -> None:
        self._items = items
        self._look_up = look_up
        self._runs: deque[_Run] = deque()
        self.latest = _Run((), [], None)

    @property
    def error(self) -> Exception | None:  # type: ignore[override]
        """What the iterables have raised."""
        return self._items.error

    def take(self, count: int) -> Sequence[Any]:
        """Return the next run; it is not longer than `count`, unless more were taken before."""
        if not self._runs:
            items = self._items.take(count)
            if items:
                self._runs.extend(self._look_up(items))
        if not self._runs:
            return ()
        self.latest = self._runs.popleft()
        return self.latest.items

    def take_back(self, items: Sequence[Any]) -> None:
        """Take back the items that were taken last: they are taken again, one by one."""
        run = self.latest
        alone = [_Run(run.items[n : n + 1], run.entries[n : n + 1], None) for n in range(len(run.items))]
        self._runs.extendleft(reversed(alone))

    def columns(self, items: Sequence[Any]) -> tuple[Any, ...]:
        """Return items as they are sent."""
        return self._items.columns(items)


class _StoringValues(DeliveredValues):
    """Has values stored before they are delivered: who has them may change them."""

    def __init__(self, store: Callable[[int, list[Any], Any], None]) -> None:
        super().__init__()
        self._store = store

    def add(self, first: int, values: list[Any], failed: Any = ()) -> None:
        """Store values, and remember them."""
        self._store(first, values, failed)
        super().add(first, values, failed)


class _Known:
    """Stands for the chunk of items whose values were found; it has ended from the start."""

    part_of: Any = None
    ran_s = 0.0

    def __init__(self, values: list[Any]) -> None:
        self._values = values
        self.call = _Items(len(values))

    def result(self, timeout: float | None = None) -> tuple[list[Any], dict[int, Any]]:
        return self._values, {}

    def done(self) -> bool:
        return True

    def cancel(self) -> bool:
        return False

    def when_ended(self, callback: Callable[[_Known], object]) -> None:
        callback(self)

    def wait_in(self, loop: object) -> None:
        return None


class _Items(NamedTuple):
    """As of a call: how many items it has."""

    items: int


def _keywords(keywords: Keywords | dict[str, Any]) -> dict[str, Any]:
    if isinstance(keywords, dict):  # with futures among them
        return keywords
    unpickle, arguments = keywords.__reduce__()
    found: dict[str, Any] = unpickle(*arguments)
    return found
