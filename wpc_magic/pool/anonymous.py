"""Functions that are called without being registered: what they are for the core, and for workers.

Such a function has no definition: it comes with its calls. Where its pickle stays the same (`captured`), it
is *held*: pickled once, sent to each worker once, and unpickled there once. Where another one of the same
code is called each time, its *blank* is held (`blanks`), and a call brings the values that fill it. Else it
is pickled with the arguments of each call, and unpickled for each call.

In the registry it is a record under a private name, which nobody can give to a definition and no list shows.
That name is an object. Who makes calls keeps it, and so does each call; when the last one has let go of it,
the record is removed.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable
from types import FunctionType
from typing import Any, NamedTuple

from .blanks import BlankFunction, has_values, take_blank
from .captured import Snapshot, code_of, take_snapshot
from .core.registry import Kind, Record
from .core.stats import FunctionStats
from .driver.driver import Driver
from .driver.state_lock import StepInProgressError
from .options import ANONYMOUS
from .wire.blanks import Filled
from .wire.codec import encode, encode_whole
from .wire.limits import MAX_PAYLOAD

__all__ = ["AnonymousFunctions", "AnonymousName", "label_of"]

_MAX_KNOWN = 512  # functions, and codes, that are remembered
_MAX_KINDS = 64  # codes of which functions are kept in any case, whose pickles are small
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
    by_value = False  # see `wire.codec.Series`: its calls are one

    def __new__(cls, record: Record, dropped: deque[Record]) -> AnonymousName:
        """Make the name of a record."""
        self = super().__new__(cls, record.name)
        self.record, self._dropped = record, dropped
        return self

    @property
    def is_held(self) -> bool:
        """Whether workers hold the function; else it, or what fills its blank, is sent with each call."""
        return type(self.record.wire) is bytes

    def pickled_call(self, sent: Any, arguments: tuple[Any, ...]) -> tuple[bytes, list[memoryview]]:
        """Return the body of a call, and its buffers.

        Parameters
        ----------
        sent : object
            What stands before the arguments; None: nothing.
        arguments : tuple
            The arguments.
        """
        return encode(arguments) if sent is None else encode((sent, arguments), series=self)

    def __del__(self) -> None:
        self._dropped.append(self.record)  # nothing else: a finalizer may run anywhere


class _Known(NamedTuple):
    """A function that has been called."""

    ref: weakref.ref[Any]
    snapshot: Snapshot
    label: str
    name: AnonymousName


class _Kind:
    """What functions of the same code have been so far.

    Attributes
    ----------
    is_new : bool
        Whether none of them was called before.
    held : _Known or None
        The last one that was held.
    blank : tuple or None
        What they have in common, a `BlankFunction`, and its name.
    has_blank : bool
        Whether there is, or might be, a blank of them.
    """

    __slots__ = ("blank", "has_blank", "held", "is_new")

    def __init__(self) -> None:
        self.is_new = self.has_blank = True
        self.held: _Known | None = None
        self.blank: tuple[BlankFunction, AnonymousName] | None = None


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
        # A lambda in a loop is another function each time.
        self._kinds: OrderedDict[tuple[Any, str], _Kind] = OrderedDict()
        self._sent_along: OrderedDict[tuple[Any, str], AnonymousName] = OrderedDict()
        self._stats: OrderedDict[tuple[Any, str], FunctionStats] = OrderedDict()
        self._dropped: deque[Record] = deque()

    def for_call(self, function: Callable[..., Any], label: str = "") -> tuple[AnonymousName, Any]:
        """Return the name of a function as it is now, and what is sent for it with a call.

        Parameters
        ----------
        function : callable
            The function.
        label : str
            As for `name_of`.

        Returns
        -------
        tuple
            The name, and what stands before the arguments; None: nothing, since workers hold it.
        """
        kind = None
        if type(function) is FunctionType or type(function) is functools.partial:
            known = self._known_as(function, label)
            if known is not None:
                return known.name, None
            kind = self._kind_of(function, label)
            held = kind.held
            if (
                held is not None
                and isinstance(function, FunctionType)
                and held.snapshot.matches_another(function)
            ):
                return held.name, None
            if kind.has_blank and not kind.is_new:
                found = self._filled(kind, function, label)
                if found is not None:
                    return found
            kind.is_new = False
        name = self.name_of(function, label)
        if not name.is_held:
            return name, function
        if kind is not None and len(name.record.wire) <= _SMALL:
            kind.held = self._known.get(id(function))
        return name, None

    def _kind_of(self, function: Callable[..., Any], label: str) -> _Kind:
        key = code_of(function), label
        kind = self._kinds.get(key)
        if kind is None:
            kind = self._kinds[key] = _Kind()
            _shorten(self._kinds, _MAX_KINDS)
        else:
            with contextlib.suppress(KeyError):  # another thread has dropped it
                self._kinds.move_to_end(key)
        return kind

    def _filled(
        self, kind: _Kind, function: Callable[..., Any], label: str
    ) -> tuple[AnonymousName, Filled] | None:
        """Return what is sent for a function where its blank is held; None: there is no such blank."""
        if not has_values(function):
            return None
        known = kind.blank
        if known is None or not known[0].matches(function):
            blank = take_blank(function)
            if blank is None or len(blank.payload) > _SMALL:
                kind.has_blank = False
                return None
            is_same = known is not None and known[0].payload == blank.payload
            name = known[1] if known and is_same else self._register(function, label, blank.payload)
            known = kind.blank = blank, name
        blank, name = known
        filled = blank.fill(function, name.record.key)
        return None if filled is None else (name, filled)

    def _known_as(self, function: Callable[..., Any], label: str) -> _Known | None:
        """Return what is known of a function that is held, if it is as it was."""
        known = self._known.get(id(function))
        if (
            known is not None
            and known.ref() is function
            and known.label == label
            and known.snapshot.matches(function)
        ):
            return known
        return None

    def name_of(self, function: Callable[..., Any], label: str = "") -> AnonymousName:
        """Return the name of a function as it is now: it has another one when what it takes along changes.

        Parameters
        ----------
        function : callable
            The function.
        label : str
            What it is called in messages; empty: by its own name.
        """
        known = self._known_as(function, label)
        if known is not None:
            return known.name
        snapshot = take_snapshot(function)  # before it is pickled: what changes meanwhile does not match
        payload = None if snapshot is None else _pickled(function)
        if snapshot is None or payload is None:
            return self._sent_along_as(function, label)
        name = self._held.get((payload, label))
        if name is None:
            name = self._held[payload, label] = self._register(function, label, payload)
        known = _Known(weakref.ref(function, self._forget(id(function))), snapshot, label, name)
        self._remember(function, known)
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
        is_async = bool(getattr(code, "co_flags", 0) & _IS_ASYNC)
        stats = self._stats.get((code, label))
        if stats is None:
            stats = self._stats[code, label] = FunctionStats(label, interleaves=is_async)
            _shorten(self._stats)
        text = f"{ANONYMOUS}{next(self._numbers)}:{label}"
        record = Record(
            text, Kind.FUNCTION, payload, None, key=next(self._keys), is_async=is_async, revision=0
        )
        name = AnonymousName(record, self._dropped)

        def enter() -> None:
            state, dropped = self._driver.core.state, self._dropped
            while dropped:
                old = dropped.popleft()
                state.registry.drop_anonymous(old)
                state.call_counts.removed(old)
            state.registry.add_anonymous(record)
            state.stats[record.key] = stats  # of all functions of this code

        try:
            with self._driver.locked_core():
                enter()
        except StepInProgressError:
            self._driver.lock.do_after(enter)
        return name


def _shorten(remembered: OrderedDict[Any, Any], most: int = _MAX_KNOWN) -> None:
    while len(remembered) > most:
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
