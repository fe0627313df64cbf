"""How many calls of each function have ended, and how: since the pool was created, whatever is redefined."""

from __future__ import annotations

from collections import OrderedDict

from ..errors import CallTimeoutError, WorkerLostError
from ..options import shown_name
from .calls import Call
from .origins import OriginCounts
from .registry import Kind, Record, Registry
from .slots import Slot, slot_of
from .stats import FunctionStats
from .tally import Outcome, Tally, sum_of

__all__ = ["CallCounts", "outcome_of"]

_MAX_FORMER = 500
_MAX_NAMES = 500
_OTHERS = "(others)"


def outcome_of(error: BaseException | None) -> Outcome:
    """Return how a call has ended that has no answer; None: it was cancelled."""
    if error is None:
        return "cancelled"
    if isinstance(error, CallTimeoutError):
        return "timed_out"
    return "worker_lost" if isinstance(error, WorkerLostError) else "not_run"


class CallCounts:
    """Counts each call once, where it ends: for its function, and for the slot that has it.

    What the pool as a whole has counted is the sum over its functions.

    Attributes
    ----------
    stats : dict of FunctionStats
        Of the functions that are defined, by the keys of their revisions.
    cancelled_by_origin : OriginCounts
        How many calls of the last origins were cancelled.

    Examples
    --------
    >>> counts = CallCounts()
    >>> counts.ended(Call(1, "f", b""), None, Registry(load_again=list))
    'cancelled'
    >>> counts.totals()["f"].tally.by_outcome()
    {'cancelled': 1}
    """

    def __init__(self) -> None:
        self.stats: dict[int, FunctionStats] = {}
        self.cancelled_by_origin = OriginCounts()
        self._former: OrderedDict[int, FunctionStats] = OrderedDict()
        self._by_name: dict[str, FunctionStats] = {}  # of what no revision of those above has counted
        self._names: set[str] = set()

    # -- a call ends ------------------------------------------------------------------------------------

    def answered(
        self, slot: Slot, stats: FunctionStats, items: int, ok: bool, failed: int, goes_on: bool
    ) -> None:
        """Count a call that a worker has answered.

        Parameters
        ----------
        slot : Slot
            The slot that has run it.
        stats : FunctionStats
            Those of its function.
        items : int
            How many items of a map it had; 0: it was a single call.
        ok : bool
            Whether it has a value.
        failed : int
            Of a chunk: see `protocol.VALUE`.
        goes_on : bool
            Whether the chunk went on after an item that has failed.
        """
        if items and ok and failed and not goes_on:
            items, failed = min(failed, items), 1  # those behind it have not run
        for tally in (stats.tally, slot.tally):
            tally.add(items, "done" if ok else "failed", min(failed, items))

    def ended(self, call: Call, error: BaseException | None, registry: Registry) -> Outcome:
        """Count a call that ends without an answer, and return how; None: it is cancelled."""
        outcome = outcome_of(error)
        slot = slot_of(call)
        if slot is not None:
            slot.tally.add(call.items, outcome)
        self.of_call(call, registry).tally.add(call.items, outcome)
        if error is None:
            self.cancelled_by_origin.add(call.origin)
        return outcome

    # -- the functions ----------------------------------------------------------------------------------

    def of_record(self, record: Record, registry: Registry) -> FunctionStats:
        """Return the statistics of a revision that is not among `stats`: those of a new one, or a former."""
        if registry.records.get(record.name) is record:
            found = self.stats[record.key] = _new_stats(record)
            return found
        if record.key not in self._former:
            self._keep(record, _new_stats(record))
        return self._former[record.key]

    def of_name(self, name: str) -> FunctionStats:
        """Return the statistics of what is defined no more, such as versions long gone."""
        name = self._known(shown_name(name))
        found = self._by_name.get(name)
        if found is None:
            found = self._by_name[name] = FunctionStats(name)
        return found

    def removed(self, record: Record) -> None:
        """Keep the statistics of a revision that is defined no more."""
        found = self.stats.pop(record.key, None)
        if found is not None:
            self._keep(record, found)

    def carried(self, old: Record, record: Record) -> None:
        """Go on with the statistics of a function that is only loaded again."""
        found = self.stats.pop(old.key, None)
        if found is not None:
            self.stats[record.key] = found

    def _keep(self, record: Record, stats: FunctionStats) -> None:
        self._former[record.key] = stats
        if len(self._former) > _MAX_FORMER:
            _, oldest = self._former.popitem(last=False)
            self.of_name(oldest.name).take_counts(oldest)

    def of_call(self, call: Call, registry: Registry) -> FunctionStats:
        """Return the statistics of the version that a call was sent with, or would be."""
        record = call.record or registry.records.get(call.name)
        if record is None or record.kind is not Kind.FUNCTION:
            return self.of_name(call.name)
        return self.stats.get(record.key) or self.of_record(record, registry)

    # -- sums -------------------------------------------------------------------------------------------

    def total(self) -> Tally:
        """Return what the pool as a whole has counted."""
        return sum_of(each.tally for each in self._all())

    def totals(self) -> dict[str, FunctionStats]:
        """Return the sum of all statistics of each name of which a call has ended."""
        totals: dict[str, FunctionStats] = {}
        for each in self._all():
            if each.tally.calls or each.tally.items:
                name = self._known(each.name)
                totals.setdefault(name, FunctionStats(name)).include(each)
        return dict(sorted(totals.items()))

    def _known(self, name: str) -> str:
        """Return a name, or that of all others if there are very many."""
        if name not in self._names:
            if len(self._names) >= _MAX_NAMES:
                return _OTHERS
            self._names.add(name)
        return name

    def _all(self) -> list[FunctionStats]:
        # The latest last: the last error of a name is its own.
        every = (*self._by_name.values(), *self._former.values(), *self.stats.values())
        return list({id(each): each for each in every}.values())  # functions of one code may share one


def _new_stats(record: Record) -> FunctionStats:
    return FunctionStats(shown_name(record.name), record.revision, record.is_async)
