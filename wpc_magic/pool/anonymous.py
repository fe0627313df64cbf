"""Functions that are called without being registered: what they are for the core, and for workers.

Such a function has no definition: it comes with its calls. Where its pickle stays the same (`captured`), it
is *held*: pickled once, sent to each worker once, and unpickled there once. Else it is pickled with the
arguments of each call, and unpickled for each call.

In the registry it is a record under a private name, which nobody can give to a definition and no list shows.
That name is an object. Who makes calls keeps it, and so does each call; when the last one has let go of it,
the record is removed.
"""

from __future__ import annotations

import functools
import itertools
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any, NamedTuple

from .captured import Snapshot, code_of, take_snapshot
from .core.registry import Kind, Record
from .core.stats import FunctionStats
from .driver.driver import Driver
from .driver.state_lock import StepInProgressError
from .options import ANONYMOUS
from .wire.codec import encode_whole
from .wire.limits import MAX_PAYLOAD

__all__ = ["AnonymousFunctions", "AnonymousName", "label_of"]

_MAX_KNOWN = 512  # functions, and codes, that are remembered
_MAX_RECENT = 64  # names that are kept in any case, of functions whose pickles are small
_SMALL = 1 << 16  # bytes
_MAX_LABEL = 80  # characters
_IS_ASYNC = 0x80  # of a code: it makes coroutines


class AnonymousName(str):
    """The name of an anonymous function in the registry.

    Parameters
    ----------
    record : Record
        The function, as the core knows it.
    dropped : deque
        Where the record is put when nobody uses the name any more.
    """

    record: Record
    _dropped: deque[Record]

    def __new__(cls, record: Record, dropped: deque[Record]) -> AnonymousName:
        """Make the name of a record."""
        self = super().__new__(cls, record.name)
        self.record, self._dropped = record, dropped
        return self

    @property
    def is_held(self) -> bool:
        """Whether workers hold the function; else it has to be sent with each call."""
        return self.record.wire is not None

    def __del__(self) -> None:
        self._dropped.append(self.record)  # nothing else: a finalizer may run anywhere


class _Known(NamedTuple):
    """A function that has been called."""

    ref: weakref.ref[Any]
    snapshot: Snapshot
    label: str
    name: AnonymousName


class AnonymousFunctions:
    """The anonymous functions of one pool.

    Parameters
    ----------
    driver : Driver
        Does the I/O of the pool.
    """

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._numbers = itertools.count(1)
        self._keys = driver.parts.cell_loads.keys
        self._known: dict[int, _Known] = {}  # by the id of the function
        self._held: weakref.WeakValueDictionary[tuple[bytes, str], AnonymousName]
        self._held = weakref.WeakValueDictionary()
        # A lambda in a loop is another function each time, whose pickle is the same.
        self._recent: deque[AnonymousName] = deque(maxlen=_MAX_RECENT)
        self._sent_along: OrderedDict[tuple[Any, str], AnonymousName] = OrderedDict()
        self._stats: OrderedDict[tuple[Any, str], FunctionStats] = OrderedDict()
        self._dropped: deque[Record] = deque()

    def name_of(self, function: Callable[..., Any], label: str = "") -> AnonymousName:
        """Return the name of a function as it is now: it has another one when what it takes along changes.

        Parameters
        ----------
        function : callable
            The function.
        label : str
            What it is called in messages; empty: by its own name.
        """
        known = self._known.get(id(function))
        if (
            known is not None
            and known.ref() is function
            and known.label == label
            and known.snapshot.matches(function)
        ):
            return known.name
        snapshot = take_snapshot(function)  # before it is pickled: what changes meanwhile does not match
        payload = None if snapshot is None else _pickled(function)
        if snapshot is None or payload is None:
            return self._sent_along_as(function, label)
        name = self._held.get((payload, label))
        if name is None:
            name = self._held[payload, label] = self._register(function, label, payload)
            if len(payload) <= _SMALL:
                self._recent.append(name)
        self._remember(
            function, _Known(weakref.ref(function, self._forget(id(function))), snapshot, label, name)
        )
        return name

    def _remember(self, function: Any, known: _Known) -> None:
        self._known[id(function)] = known
        while len(self._known) > _MAX_KNOWN:
            try:
                del self._known[next(iter(self._known))]
            except (KeyError, RuntimeError, StopIteration):  # another thread does the same
                break

    def _forget(self, number: int) -> Callable[[object], object]:
        known = self._known  # not this object, which the callback would keep

        def forget(ref: object) -> None:
            found = known.get(number)
            if found is not None and found.ref is ref:
                known.pop(number, None)

        return forget

    def _sent_along_as(self, function: Callable[..., Any], label: str) -> AnonymousName:
        """Return the name of a function that is sent with each call: the same for all of the same code."""
        key = code_of(function), label
        name = self._sent_along.get(key)
        if name is None:
            name = self._sent_along[key] = self._register(function, label, None)
            _shorten(self._sent_along)
        return name

    def _register(self, function: Callable[..., Any], label: str, payload: bytes | None) -> AnonymousName:
        """Enter a function in the registry."""
        label = label or label_of(function)
        code = code_of(function)
        stats = self._stats.get((code, label))
        if stats is None:
            stats = self._stats[code, label] = FunctionStats()
            _shorten(self._stats)
        text = f"{ANONYMOUS}{next(self._numbers)}:{label}"
        is_async = bool(getattr(code, "co_flags", 0) & _IS_ASYNC)
        record = Record(
            text, Kind.FUNCTION, payload, None, key=next(self._keys), is_async=is_async, revision=0
        )
        name = AnonymousName(record, self._dropped)

        def enter() -> None:
            state, dropped = self._driver.core.state, self._dropped
            while dropped:
                old = dropped.popleft()
                state.registry.drop_anonymous(old)
                state.call_counts.replaced(old, state.stats.pop(old.key, None))
            state.registry.add_anonymous(record)
            state.stats[record.key] = stats  # of all functions of this code

        try:
            with self._driver.locked_core():
                enter()
        except StepInProgressError:
            self._driver.lock.do_after(enter)
        return name


def _shorten(remembered: OrderedDict[Any, Any]) -> None:
    while len(remembered) > _MAX_KNOWN:
        try:
            remembered.popitem(last=False)
        except KeyError:  # another thread does the same
            break


def _pickled(function: Callable[..., Any]) -> bytes | None:
    """Return the pickle of a function; None: it cannot be pickled, or is too large to be held."""
    try:
        payload = encode_whole(function)
    except Exception:  # the call says so
        return None
    return payload if len(payload) <= MAX_PAYLOAD else None


def label_of(function: Any) -> str:
    """Return what a callable is called in messages.

    Examples
    --------
    >>> def outer():
    ...     def inner(): pass
    ...     return inner
    >>> label_of(outer()), label_of(functools.partial(len)), label_of(lambda: 1), label_of([].append)
    ('inner', 'len', '<lambda>', 'list.append')
    """
    while type(function) is functools.partial:
        function = function.func
    try:
        name = function.__qualname__
    except Exception:  # it has none, or its own code does not tell it
        name = None
    if type(name) is not str:
        name = type(function).__qualname__
    name = name.rpartition("<locals>.")[2]
    return name if len(name) <= _MAX_LABEL else name[: _MAX_LABEL - 1] + "…"
