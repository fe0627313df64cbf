"""The methods of a pool that look into its workers, for the dashboard."""

from __future__ import annotations

import itertools
from typing import NamedTuple

from .driver.driver import Driver
from .driver.sampling import StackSampler
from .options import check_count
from .wire.protocol import Described

__all__ = ["BlockMemory", "Holders", "Inspection", "WorkerDetails"]

_MOST_LOOKED_AT = 1_000  # queued calls


class BlockMemory(NamedTuple):
    """The shared memory in which large arguments travel, in bytes; what workers use for values is theirs.

    Parameters
    ----------
    used : int
        The blocks in use.
    total : int
        All blocks: those that are not used are kept for a moment.
    peak : int
        The most that `total` was.
    limit : int
        What it may be: the option ``block_memory_mb``.
    """

    used: int
    total: int
    peak: int
    limit: int


class Holders(NamedTuple):
    """Which workers hold a definition.

    Parameters
    ----------
    workers : list of int
        Those that have this version installed.
    is_shared : bool
        Whether its large buffers lie in memory once, for all of them.
    """

    workers: list[int]
    is_shared: bool


class WorkerDetails(NamedTuple):
    """What is known of the process of a worker.

    Parameters
    ----------
    runs_with : Described or None
        What its process runs with: Python, working directory, packages, environment variables that are no
        secrets; None: it has none, or did not answer in time.
    output : list of tuple
        What its process has printed last, oldest first: the number of the call, or None, and the text.
    """

    runs_with: Described | None
    output: list[tuple[int | None, str]]


class Inspection:
    """The methods of a pool that look into its workers."""

    _driver: Driver

    def stack_sampler(self) -> StackSampler:
        """Return what samples the stacks of the calls that run, through the control channels of workers.

        Nothing is done in the main threads of workers, which run the calls. It does not keep the pool alive.
        """
        return StackSampler(self._driver)

    def worker_details(self, worker_id: int, timeout_ms: int = 1000) -> WorkerDetails:
        """Return what is known of a worker, also while it is busy.

        Parameters
        ----------
        worker_id : int
            The worker.
        timeout_ms : int
            How long its answer may take, in milliseconds.

        Raises
        ------
        NotRunningError
            If the workers are not running.
        OptionError
            If there is no such worker.

        Examples
        --------
        >>> from wpc_magic.pool import WorkerProcedureCall
        >>> with WorkerProcedureCall() as pool:
        ...     pool.start_workers(1)
        ...     details = pool.worker_details(1, timeout_ms=60_000)
        ...     "wpc_magic" in dict(details.runs_with.packages)
        True
        """
        limit_s = check_count("timeout_ms", timeout_ms) / 1000
        number = check_count("worker_id", worker_id)
        answers: list[Described] = []
        output: list[tuple[int | None, str]] = []
        with self._driver.locked_core() as (core, _):
            link = self._driver.parts.links.get(core.supervisor.find(number).incarnation)
            if link is not None:
                output = link.recent_output.latest()
                self._driver.stacks.request_description(link, answers.append)
        if link is not None:
            self._driver.condition.wait_for(lambda: bool(answers) or link.dead, limit_s)
        return WorkerDetails(answers[0] if answers else None, output)

    def block_memory(self) -> BlockMemory:
        """Return how much shared memory large arguments take."""
        store = self._driver.parts.memory.store
        return BlockMemory(store.used, store.total, store.peak, store.limit)

    def holders(self) -> dict[str, Holders]:
        """Return which workers hold each definition, by its name."""
        with self._driver.reading() as core:
            return {
                record.name: Holders(core.holders(record), record.block is not None)
                for record in core.state.registry.records.values()
            }

    def queued_calls(self) -> list[tuple[str, str]]:
        """Return the ids and names of the first calls that no worker has yet."""
        with self._driver.reading() as core:
            first = itertools.islice(core.dispatcher.queued, _MOST_LOOKED_AT)
            return [(call.correlation_id, call.name) for call in first]

    def cancel_queued(self) -> int:
        """Cancel the calls that no worker has yet; return how many. What runs goes on."""
        with self._driver.reading() as core:
            queued = set(core.dispatcher.queued)
        return self._driver.cancel_all(queued.__contains__)
