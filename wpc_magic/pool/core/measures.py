"""What is recorded of calls that are slow enough beside their rows in the history: of others, nothing.

How they ran, and where, is told by the history (`runs.py`). All that is kept here is bounded: the functions,
the arguments of the slowest calls of each, and the samples of memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping

from ..options import shown_name
from .advice import advice_for_function, advice_for_map, growth_per_call
from .calls import Call
from .insights import FunctionInsight, Insights, MapInsight, SlowCall
from .registry import Kind, Record, Registry
from .runs import FunctionRuns
from .slots import Slot
from .stats import FunctionStats

__all__ = ["Measures"]

_MAX_FUNCTIONS = 64
_MAX_SLOWEST = 5
_MAX_MAPS = 20
_MAX_BODY = 4096  # bytes of arguments that are kept to be shown
_MAX_SAMPLES = 16
_MAX_PROCESSES = 64
_QUICK = 17  # buckets of calls of less than about 65 µs


class Measures:
    """What has been measured of the functions of a pool.

    Parameters
    ----------
    arguments : callable
        Given a call, returns its arguments as text.
    oldest : callable
        Returns when the oldest call has ended that the history keeps, in seconds.

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

    def __init__(self, arguments: Callable[[Call], str], oldest: Callable[[], float] = lambda: 0.0) -> None:
        self._arguments = arguments
        self._oldest = oldest
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
        found.add(call, ran_ns, now, self._oldest())
        if call.items:
            self.in_map(call, ran_ns / 1e9)
        found.sample(slot.incarnation, self.resident(slot.incarnation), calls=1)
        return self.nbytes(call)

    def insights(
        self,
        registry: Registry,
        stats: Mapping[int, FunctionStats],
        memory: Mapping[int, int | None],
        runs: Mapping[FunctionStats, FunctionRuns],
    ) -> Insights:
        """Return what is known.

        Parameters
        ----------
        registry : Registry
            The functions.
        stats : mapping
            The statistics of each, by the key of its record.
        memory : mapping
            The memory of the processes that run now, in bytes, by incarnation.
        runs : mapping
            How they have run, by the history; see `runs_of`.
        """
        functions = [
            self._insight(record, stats.get(record.key) or FunctionStats(), memory, runs)
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
        stats: FunctionStats,
        memory: Mapping[int, int | None],
        by_function: Mapping[FunctionStats, FunctionRuns],
    ) -> FunctionInsight:
        measured = self._functions.get(record.name)
        if measured is None or measured.key != record.key:
            measured = _Function(record.key)
        for incarnation, nbytes in memory.items():
            measured.sample(incarnation, nbytes or 0)
        growths = [each for samples in measured.memory.values() if (each := growth_per_call(samples.seen))]
        runs = by_function.get(stats) or FunctionRuns()
        kept = {call.id: call for _, call, _ in measured.slowest}
        return FunctionInsight(
            name=shown_name(record.name),
            calls=max(stats.histogram.count, stats.tally.calls),  # that of a lost worker has no run time
            items=stats.tally.items,
            failed=stats.tally.failed,
            quick_calls=sum(stats.histogram.buckets[:_QUICK]),
            mean_s=stats.mean_s,
            working_s=measured.ran_ns / 1e9 + stats.unmeasured_s,
            active_s=runs.periods.total_s,
            workers=dict(sorted(runs.workers.items())),
            sent_bytes=runs.sent_bytes,
            measured=runs.calls,
            slowest=tuple(
                SlowCall(
                    f"{row.function.name} #{row.number}",
                    self._arguments(kept[row.number]) if row.number in kept else "",
                    row.ran_ns / 1e9,
                    runs_on,
                    row.items,
                )
                for row, runs_on in runs.slowest
            ),
            growth_bytes=max(growths, default=None),
            is_async=record.is_async,
            revision=record.revision,
        )


class _Function:
    """What has been measured of one revision of a function."""

    def __init__(self, key: int) -> None:
        self.key = key
        self.ran_ns = 0
        self.slowest: list[tuple[int, Call, float]] = []  # how long, the call, and when it has ended
        self.memory: dict[int, _Samples] = {}

    def add(self, call: Call, ran_ns: int, now: float, oldest: float) -> None:
        """Record a call, and keep its arguments while it is one of the slowest in the history."""
        self.ran_ns += ran_ns
        slowest = [each for each in self.slowest if each[2] >= oldest]
        if len(slowest) < _MAX_SLOWEST or ran_ns > slowest[-1][0]:
            # Not the call itself, which refers to its value.
            body = call.body if len(call.body) <= _MAX_BODY else b""
            slowest.append((ran_ns, Call(call.id, call.name, body, items=call.items), now))
            slowest.sort(key=lambda each: -each[0])
            del slowest[_MAX_SLOWEST:]
        self.slowest = slowest

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
