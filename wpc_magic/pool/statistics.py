"""The part of the public interface that counts: for programs that watch the pool from outside."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from .driver.driver import Driver

__all__ = ["FunctionStatistics", "PoolStatistics", "Statistics"]


@dataclasses.dataclass(frozen=True, slots=True)
class FunctionStatistics:
    """How the calls of a function have ended since the pool was created, in all its versions.

    The items of a map that are sent together are one call.

    Parameters
    ----------
    name : str
        The function.
    outcomes : mapping
        How many calls have ended, by outcome: ``done``, ``failed`` (the function raised), ``cancelled``,
        ``timed_out``, ``worker_lost``, and ``not_run`` (the pool was stopped, or no worker could run it).
    buckets : tuple of int
        The run times of those that were answered: element ``n`` is how many took less than ``2**n``
        nanoseconds, and not less than half of that.
    """

    name: str
    outcomes: Mapping[str, int]
    buckets: tuple[int, ...]


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
            counts = core.state.call_counts
            totals = counts.totals(core.state.registry, core.state.stats)
            outcomes: dict[str, dict[str, int]] = {}
            for (name, outcome), count in counts.by_outcome(totals).items():
                outcomes.setdefault(name, {})[outcome] = count
            blocks, size = store.count, store.total
        return PoolStatistics(
            tuple(
                FunctionStatistics(
                    name, found, tuple(totals[name].histogram.buckets if name in totals else ())
                )
                for name, found in outcomes.items()
            ),
            blocks,
            size,
        )
