"""What is recorded of calls that are slow enough: of those of less than about 1 ms, nothing.

All of it is bounded: the functions, the slowest calls of each, and the samples of memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping

from ..options import shown_name
from .advice import advice_for_function, advice_for_map, growth_per_call
from .calls import Call
from .insights import FunctionInsight, Insights, MapInsight, SlowCall
from .registry import Kind, Record, Registry
from .slots import Slot
from .stats import FunctionStats

__all__ = ["Measures"]

_MAX_FUNCTIONS = 64
_MAX_SLOWEST = 5
_MAX_MAPS = 20
_MAX_BODY = 4096  # bytes of arguments that are kept to be shown
_MAX_SAMPLES = 16
_MAX_PROCESSES = 64
_MAX_PERIODS = 32
_QUICK = 17  # buckets of calls of less than about 65 µs


class Measures:
    """What has been measured of the functions of a pool.

    Parameters
    ----------
    arguments : callable
        Given a call, returns its arguments as text.

    Attributes
    ----------
    resident : callable
        Given an incarnation, returns how much memory the process has, in bytes; 0: not known.
    nbytes : callable
        Given a call, returns the size of its arguments, in bytes.
    in_map : callable
        Given a chunk of a map, and for how long it ran, in seconds, tells the map.
    maps : deque of MapInsight
        The latest maps.
    """

    def __init__(self, arguments: Callable[[Call], str]) -> None:
        self._arguments = arguments
        self.resident: Callable[[int], int] = lambda incarnation: 0
        self.nbytes: Callable[[Call], int] = lambda call: len(call.body)
        self.in_map: Callable[[Call, float], None] = lambda call, ran_s: None
        self.maps: deque[MapInsight] = deque(maxlen=_MAX_MAPS)
        self._functions: dict[str, _Function] = {}

    def add(self, slot: Slot, call: Call, record: Record, ran_ns: int, now: float) -> int:
        """Record a call that a worker has answered, and that ran for long enough.

        Return the size of its arguments, in bytes.

        It may have ended before, cancelled for example: then little is left of it.
        """
        found = self._functions.get(call.name)
        if found is None or found.key != record.key:
            self._functions.pop(call.name, None)
            if len(self._functions) >= _MAX_FUNCTIONS:
                del self._functions[next(iter(self._functions))]
            found = self._functions[call.name] = _Function(record.key)
        nbytes = self.nbytes(call)
        found.add(slot, call, ran_ns / 1e9, nbytes, now)
        if call.items:
            self.in_map(call, ran_ns / 1e9)
        found.sample(slot.incarnation, self.resident(slot.incarnation), calls=1)
        return nbytes

    def insights(
        self, registry: Registry, stats: Mapping[int, FunctionStats], memory: Mapping[int, int | None]
    ) -> Insights:
        """Return what is known, given the memory of the processes that run now, by incarnation."""
        functions = [
            self._insight(record, stats.get(record.key), self._functions.get(record.name), memory)
            for record in registry.records.values()  # with those of cells, and without a name
            if record.kind is Kind.FUNCTION
        ]
        functions = sorted([each for each in functions if each.calls], key=lambda each: -each.working_s)
        maps = tuple(self.maps)
        advice = [line for each in functions for line in advice_for_function(each)]
        for each in maps:
            line = advice_for_map(each)
            if line is not None:
                advice.append(f"{each.name}: {line}")
        return Insights(tuple(functions), maps, tuple(dict.fromkeys(advice)))

    def _insight(
        self,
        record: Record,
        stats: FunctionStats | None,
        measured: _Function | None,
        memory: Mapping[int, int | None],
    ) -> FunctionInsight:
        if measured is None or measured.key != record.key:
            measured = _Function(record.key)
        for incarnation, nbytes in memory.items():
            measured.sample(incarnation, nbytes or 0)
        growths = [each for samples in measured.memory.values() if (each := growth_per_call(samples.seen))]
        return FunctionInsight(
            name=shown_name(record.name),
            calls=0 if stats is None else stats.histogram.count,
            items=0 if stats is None else stats.tally.items,
            failed=0 if stats is None else stats.tally.failed,
            quick_calls=0 if stats is None else sum(stats.histogram.buckets[:_QUICK]),
            mean_s=None if stats is None else stats.mean_s,
            working_s=sum(measured.workers.values()) + (0.0 if stats is None else stats.unmeasured_s),
            active_s=measured.periods.total_s,
            workers=dict(sorted(measured.workers.items())),
            sent_bytes=measured.sent_bytes,
            measured=measured.calls,
            slowest=tuple(
                SlowCall(shown, self._arguments(call), ran_s, worker, call.items)
                for ran_s, worker, shown, call in measured.slowest
            ),
            growth_bytes=max(growths, default=None),
            is_async=record.is_async,
        )


class _Function:
    """What has been measured of one revision of a function."""

    def __init__(self, key: int) -> None:
        self.key = key
        self.calls = 0
        self.sent_bytes = 0
        self.workers: dict[int, float] = {}
        self.periods = _Periods()
        self.slowest: list[tuple[float, int, str, Call]] = []
        self.memory: dict[int, _Samples] = {}

    def add(self, slot: Slot, call: Call, ran_s: float, nbytes: int, now: float) -> None:
        """Record a call."""
        self.calls += 1
        self.sent_bytes += nbytes
        self.workers[slot.id] = self.workers.get(slot.id, 0.0) + ran_s
        self.periods.add(now - ran_s, now)
        slowest = self.slowest
        if len(slowest) < _MAX_SLOWEST or ran_s > slowest[-1][0]:
            # Not the call itself, which refers to its value.
            body = call.body if len(call.body) <= _MAX_BODY else b""
            kept = Call(call.id, call.name, body, items=call.items)
            slowest.append((ran_s, slot.id, str(call), kept))
            slowest.sort(key=lambda each: -each[0])
            del slowest[_MAX_SLOWEST:]

    def sample(self, incarnation: int, nbytes: int, calls: int = 0) -> None:
        """Record how large a process is, which has run so many calls more."""
        samples = self.memory.get(incarnation)
        if samples is None:
            if not calls:
                return
            if len(self.memory) >= _MAX_PROCESSES:
                del self.memory[next(iter(self.memory))]
            samples = self.memory[incarnation] = _Samples()
        samples.add(nbytes, calls)


class _Samples:
    """How large one process was after so many calls."""

    def __init__(self) -> None:
        self.calls = 0
        self.seen: list[tuple[int, int]] = []

    def add(self, nbytes: int, calls: int) -> None:
        """Add a sample, if there is news."""
        self.calls += calls
        seen = self.seen
        if not nbytes or (seen and (seen[-1][1] == nbytes or seen[-1][0] == self.calls)):
            return
        seen.append((self.calls, nbytes))
        if len(seen) > _MAX_SAMPLES:
            del seen[1::2]


class _Periods:
    """How much time intervals cover together, which are added in the order of their ends.

    Examples
    --------
    >>> periods = _Periods()
    >>> for interval in [(0.0, 1.0), (2.0, 3.0), (2.5, 4.0), (0.5, 5.0)]:
    ...     periods.add(*interval)
    >>> periods.total_s
    5.0
    """

    def __init__(self) -> None:
        self._folded_s = 0.0
        self._latest: list[tuple[float, float]] = []

    def add(self, start: float, end: float) -> None:
        """Add an interval."""
        latest = self._latest
        while latest and latest[-1][1] >= start:
            start = min(start, latest.pop()[0])
        latest.append((start, end))
        if len(latest) > _MAX_PERIODS:
            first, last = latest.pop(0)
            self._folded_s += last - first

    @property
    def total_s(self) -> float:
        """The time that they cover, in seconds."""
        return self._folded_s + sum(end - start for start, end in self._latest)
