"""The methods of a pool that look into its workers, for the dashboard."""

from __future__ import annotations

from typing import NamedTuple

from .driver.driver import Driver
from .driver.sampling import StackSampler
from .options import check_count
from .wire.protocol import Described

__all__ = ["Inspection", "WorkerDetails"]


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
        ...     details = pool.worker_details(1)
        ...     sorted(dict(details.runs_with.packages))[:2]
        ['cloudpickle', 'wpc_magic']
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
