"""How many calls of each function have ended, and how: since the pool was created, whatever is redefined."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping

from ..errors import CallTimeoutError, WorkerLostError
from ..options import shown_name
from .calls import Call
from .registry import Kind, Record, Registry
from .stats import FunctionStats

__all__ = ["CallCounts"]

_MAX_FORMER = 500
_MAX_NAMES = 500
_OTHERS = "(others)"


class CallCounts:
    """What the statistics of functions do not count: calls that end without an answer, and former versions.

    A call that is answered is counted by `FunctionStats` only, at no further cost.

    Examples
    --------
    >>> counts = CallCounts()
    >>> counts.ended(Call(1, "f", b""), None)
    >>> counts.by_outcome({"f": FunctionStats()})
    {('f', 'cancelled'): 1}
    """

    def __init__(self) -> None:
        self._ended: Counter[tuple[str, str]] = Counter()
        self._ignored: Counter[tuple[str, str]] = Counter()
        self._former: OrderedDict[int, tuple[str, FunctionStats]] = OrderedDict()
        self._sums: dict[str, FunctionStats] = {}
        self._names: set[str] = set()

    def ended(self, call: Call, error: BaseException | None) -> None:
        """Record a call that ends without an answer; None: it is cancelled."""
        if error is None:
            outcome = "cancelled"
        elif isinstance(error, CallTimeoutError):
            outcome = "timed_out"
        elif isinstance(error, WorkerLostError):
            outcome = "worker_lost"
        else:
            outcome = "not_run"
        self._ended[self._known(call.name), outcome] += 1

    def ignored(self, call: Call, ok: bool) -> None:
        """Record that a call was answered that had ended before: it counts once."""
        self._ignored[self._known(call.name), "done" if ok else "failed"] += 1

    def replaced(self, record: Record, stats: FunctionStats | None) -> None:
        """Keep the statistics of a version that is defined no more."""
        if stats is None:
            return
        self._former[record.key] = self._known(record.name), stats
        if len(self._former) > _MAX_FORMER:
            _, (name, oldest) = self._former.popitem(last=False)
            _add(self._sums.setdefault(name, FunctionStats()), oldest)

    def answered_late(self, call: Call, record: Record, ran_ns: int, ok: bool) -> None:
        """Record a call that is answered after its function was defined anew."""
        if record.key not in self._former:
            self.replaced(record, FunctionStats())
        self._former[record.key][1].add(ran_ns, call.items, ok)

    def _known(self, name: str) -> str:
        """Return a name as it is shown, or that of all others if there are very many."""
        shown = shown_name(name)
        if shown not in self._names:
            if len(self._names) >= _MAX_NAMES:
                return _OTHERS
            self._names.add(shown)
        return shown

    def totals(self, registry: Registry, stats: Mapping[int, FunctionStats]) -> dict[str, FunctionStats]:
        """Return the sum of all statistics of each name."""
        totals: dict[str, FunctionStats] = {}
        seen: set[int] = set()  # functions of one code without a name share one
        for name, each in self._all(registry, stats):
            if id(each) not in seen:
                seen.add(id(each))
                _add(totals.setdefault(name, FunctionStats()), each)
        return totals

    def _all(
        self, registry: Registry, stats: Mapping[int, FunctionStats]
    ) -> Iterator[tuple[str, FunctionStats]]:
        for record in registry.records.values():
            found = stats.get(record.key) if record.kind is Kind.FUNCTION else None
            if found is not None and (found.done or found.failed):
                yield self._known(record.name), found
        yield from self._former.values()
        yield from self._sums.items()

    def by_outcome(self, totals: Mapping[str, FunctionStats]) -> dict[tuple[str, str], int]:
        """Return how many calls have ended, by name and outcome, given the result of `totals`."""
        counts = Counter(self._ended)
        for name, stats in totals.items():
            counts[name, "done"] += stats.done
            counts[name, "failed"] += stats.failed
        counts.subtract(self._ignored)
        return {key: count for key, count in sorted(counts.items()) if count > 0}


def _add(total: FunctionStats, stats: FunctionStats) -> None:
    total.done += stats.done
    total.failed += stats.failed
    buckets = total.histogram.buckets
    for number, count in enumerate(stats.histogram.buckets):
        buckets[number] += count
