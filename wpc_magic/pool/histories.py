"""The methods of a pool that tell which calls have ended, and write that down."""

from __future__ import annotations

import importlib
import json
import os
import time
from typing import Any, NamedTuple

from .checks import check_whole
from .chrome_trace import trace_of
from .core.ended_calls import PoolHistory, WorkerProcess
from .core.history import Row, history_of
from .driver.driver import Driver
from .files import checked_path, write_text

__all__ = ["Histories", "RecentCalls"]


class RecentCalls(NamedTuple):
    """The calls that have ended after a time, on the pool's own clock, which is monotonic.

    Parameters
    ----------
    rows : list of tuple
        The calls; see `core.history`.
    weight : int
        How many calls each row stands for.
    until : float
        When the last of them has ended, of which there may be no row; if there is none, the given time.
    processes : list of WorkerProcess
        All that are known.
    """

    rows: list[Row]
    weight: int
    until: float
    processes: list[WorkerProcess]


class Histories:
    """The methods of a pool that tell which calls have ended."""

    _driver: Driver

    def history(self, latest: int | None = None) -> PoolHistory:
        """Return the calls that have ended last, and the processes that have run them.

        The option `call_history` says how many are kept. A call that is retried is there with each run.

        Parameters
        ----------
        latest : int, optional
            How many calls at most.

        Returns
        -------
        PoolHistory
            ``calls``, the latest last, and ``processes``; ``to_pandas()`` returns the calls as a DataFrame.

        Examples
        --------
        >>> from wpc_magic.pool import WorkerProcedureCall
        >>> with WorkerProcedureCall() as pool:
        ...     pool.start_workers(1)
        ...     _ = [pool.submit_function(divmod, (6, n)).exception() for n in range(3)]
        ...     [(call.function, call.state, call.error) for call in pool.history(latest=2).calls]
        [('divmod', 'done', ''), ('divmod', 'done', '')]
        """
        if latest is not None:
            check_whole("latest", latest, 0)
        with self._driver.reading() as core:
            history = core.state.history
            rows, processes = history.rows(latest=latest), history.processes()
        offset = time.time() - time.monotonic()
        return history_of(rows, processes, history.sizes, offset, self._arguments_of)

    def recent_calls(self, after: float, most: int | None = None) -> RecentCalls:
        """Return the calls that have ended after a time, for the dashboard.

        Parameters
        ----------
        after : float
            In seconds, on the monotonic clock.
        most : int, optional
            How many rows at most.
        """
        with self._driver.reading() as core:
            history = core.state.history
            return RecentCalls(*history.since(after, most), history.processes())

    def trace(self, path: str | os.PathLike[str]) -> str:
        """Write the calls that have ended last, and the events, to a file that Perfetto opens.

        It is in the trace format of Chrome: open it at https://ui.perfetto.dev, or with ``chrome://tracing``.
        Each worker process is a lane.

        Parameters
        ----------
        path : str or path
            The file; it is replaced.

        Returns
        -------
        str
            The path.

        Raises
        ------
        OptionError
            If it cannot be written.

        Examples
        --------
        >>> import pathlib, tempfile
        >>> from wpc_magic.pool import WorkerProcedureCall
        >>> with WorkerProcedureCall() as pool, tempfile.TemporaryDirectory() as folder:
        ...     pool.start_workers(1)
        ...     _ = pool.submit_function(divmod, (7, 2)).result()
        ...     written = pool.trace(f"{folder}/run.json")
        ...     '"name":"divmod"' in pathlib.Path(written).read_text()
        True
        """
        where = checked_path(path)
        with self._driver.reading() as core:
            events = core.state.events.latest()
        trace = trace_of(self.history(), events, name=self._driver.name, pid=os.getpid())
        text = json.dumps(trace, separators=(",", ":"), default=repr)
        write_text(where, text)
        return where

    def report(self, path: str | os.PathLike[str]) -> str:
        """Write what the pool has run to a page of HTML, which needs nothing else to be shown.

        It has a timeline, the functions, what has failed, the workers, advice, and the events.

        Parameters
        ----------
        path : str or path
            The file; it is replaced.

        Returns
        -------
        str
            The path.

        Raises
        ------
        OptionError
            If it cannot be written.
        """
        where = checked_path(path)
        # By name and on demand: the pool itself does not depend on what shows it.
        report: Any = importlib.import_module(f"{__name__.partition('.')[0]}.dashboard.report")
        write_text(where, report.take_report(self))
        return where

    def _arguments_of(self, number: int) -> str:
        """Return the arguments of a call that has failed, shortened; empty: they are not kept."""
        failed = self._driver.failures.find(number)
        return "" if failed is None else failed.shown_arguments
