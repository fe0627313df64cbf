"""The part of the public interface that counts: for programs that watch the pool from outside."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from .core.tally import Outcome
from .driver.driver import Driver

__all__ = ["FunctionStatistics", "PoolStatistics", "Statistics"]


@dataclasses.dataclass(frozen=True, slots=True)
class FunctionStatistics:
    """How the calls of a function have ended since the pool was created, in all its versions.

    Parameters
    ----------
    name : str
        The function.
    outcomes : mapping
        How many calls, and items of maps, have ended, by outcome: ``done``, ``failed`` (the function raised),
        ``cancelled``, ``timed_out``, ``worker_lost``, and ``not_run`` (the pool was stopped, or no worker
        could run it). An item that is retried counts each time that it ends.
    buckets : tuple of int
        How long workers have run it each time: element ``n`` is how many took less than ``2**n`` nanoseconds,
        and not less than half of that. The items of a map that are sent together are run once; a call that is
        retried, more than once.
    calls, items : int
        How many of `outcomes` are single calls, and items of maps.
    sums_s : tuple of float
        How long the runs of each of the `buckets` took together, in seconds.
    last_error : str
        What its last call or item that failed has ended with, in one line, shortened; empty: none has failed.
    """

    name: str
    outcomes: Mapping[Outcome, int]
    buckets: tuple[int, ...]
    calls: int = 0
    items: int = 0
    sums_s: tuple[float, ...] = ()
    last_error: str = ""

    @property
    def failed(self) -> int:
        """How many have ended with an error, of whatever kind; those that were cancelled have not."""
        return sum(count for how, count in self.outcomes.items() if how not in ("done", "cancelled"))

    @property
    def cancelled(self) -> int:
        """How many were cancelled."""
        return self.outcomes.get("cancelled", 0)


@dataclasses.dataclass(frozen=True, slots=True)
class PoolStatistics:
    """What a pool has counted since it was created, and its shared memory now.

    Parameters
    ----------
    functions : tuple of FunctionStatistics
        By name; those of which a call has ended.
    blocks : int
        The blocks of shared memory for arguments.
    block_bytes : int
        Their size.
    """

    functions: tuple[FunctionStatistics, ...] = ()
    blocks: int = 0
    block_bytes: int = 0


class Statistics:
    """The method of a pool that returns what it has counted."""

    _driver: Driver

    def statistics(self) -> PoolStatistics:
        """Return what the pool has counted since it was created; see also `snapshot`.

        Examples
        --------
        >>> from wpc_magic.pool import WorkerProcedureCall
        >>> with WorkerProcedureCall() as pool:
        ...     pool.start_workers(1)
        ...     _ = [pool.submit_function(divmod, (6, n)).exception() for n in range(3)]
        ...     pool.statistics().functions[0].outcomes
        {'done': 2, 'failed': 1}
        """
        store = self._driver.memory.store
        with self._driver.reading() as core:
            totals = core.state.call_counts.totals()
            blocks, size = store.count, store.total
        return PoolStatistics(
            tuple(
                FunctionStatistics(
                    name,
                    each.tally.by_outcome(),
                    tuple(each.histogram.buckets if any(each.histogram.buckets) else ()),
                    each.tally.calls,
                    each.tally.items,
                    tuple(ns / 1e9 for ns in each.histogram.sums_ns) if any(each.histogram.buckets) else (),
                    each.last_error,
                )
                for name, each in totals.items()
            ),
            blocks,
            size,
        )
