"""The calls that have ended, as data to keep and to show: immutable."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from ..frames import frame_of, with_times

__all__ = ["EndedCall", "PoolHistory", "WorkerProcess"]


@dataclasses.dataclass(frozen=True, slots=True)
class EndedCall:
    """A call that has ended, or one run of a call that was retried. Times are in seconds of the epoch.

    Parameters
    ----------
    number : int
        Its number in the pool.
    function : str
        The function.
    version : int
        How many times that was defined, up to the version that ran; 0: it is not registered, or not known.
    worker_id : int or None
        The slot that had it last; None: it never left the queue.
    pid : int or None
        The process that had it.
    incarnation : int
        The number of that process in its pool; 0: there was none.
    state : str
        ``done``, ``failed`` (the function raised), ``cancelled``, ``timed_out``, ``worker_lost``, ``not_run``
        (the pool was stopped, or no worker could run it), or ``retried``: it runs again.
    queued_at : float
        When it was made.
    sent_at : float or None
        When it was sent to its worker; None: never.
    began_at : float or None
        When its function began to run; None: never. Where answers are read later than they are written, the
        times follow from how long each has run.
    ended_at : float
        When it ended.
    items : int
        Of a chunk of a map: how many items it had; 0: it was a single call.
    failed_items : int
        How many of them have failed.
    bytes_in, bytes_out : int or None
        The size of its arguments, and of its value; known of calls that ran for about 1 ms or longer.
    error : str
        What it has raised, in one line, shortened; empty: nothing.
    arguments : str
        Its arguments, shortened; only where they are kept: of the last calls that have failed.
    """

    number: int
    function: str
    version: int
    worker_id: int | None
    pid: int | None
    incarnation: int
    state: Literal["done", "failed", "cancelled", "timed_out", "worker_lost", "not_run", "retried"]
    queued_at: float
    sent_at: float | None
    began_at: float | None
    ended_at: float
    items: int = 0
    failed_items: int = 0
    bytes_in: int | None = None
    bytes_out: int | None = None
    error: str = ""
    arguments: str = ""

    @property
    def ran_s(self) -> float | None:
        """For how long it ran, in seconds; None: it did not."""
        return None if self.began_at is None else self.ended_at - self.began_at

    @property
    def waited_s(self) -> float:
        """For how long it waited before it began, or ended without that, in seconds."""
        return (self.ended_at if self.began_at is None else self.began_at) - self.queued_at


@dataclasses.dataclass(frozen=True, slots=True)
class WorkerProcess:
    """A worker's process, of those that a pool has had. Times are in seconds of the epoch.

    Parameters
    ----------
    incarnation : int
        Its number in the pool.
    worker_id : int
        The slot that it served.
    pid : int
        Its process id.
    started_at : float
        When it was started.
    ended_at : float or None
        When it was found to have exited; None: it runs.
    reason : str
        Why it has ended; empty: as it was asked to.
    """

    incarnation: int
    worker_id: int
    pid: int
    started_at: float
    ended_at: float | None = None
    reason: str = ""

    def moved(self, offset: float) -> WorkerProcess:
        """Return it with something added to its times."""
        ended_at = None if self.ended_at is None else self.ended_at + offset
        return dataclasses.replace(self, started_at=self.started_at + offset, ended_at=ended_at)


@dataclasses.dataclass(frozen=True, slots=True, repr=False)
class PoolHistory:
    """The calls of a pool that have ended last, and the processes that ran them.

    Parameters
    ----------
    calls : tuple of EndedCall
        By when they have ended, the latest last.
    processes : tuple of WorkerProcess
        By when they were started.
    """

    calls: tuple[EndedCall, ...] = ()
    processes: tuple[WorkerProcess, ...] = ()

    def __repr__(self) -> str:
        calls, processes = len(self.calls), len(self.processes)
        return (
            f"<PoolHistory: {calls} call{'s' * (calls != 1)} in {processes} process{'es' * (processes != 1)}>"
        )

    def to_pandas(self) -> Any:
        """Return the calls as a DataFrame, a row each; times are in UTC, durations in seconds.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        frame = frame_of(self.calls, EndedCall)
        frame["waited_s"] = [call.waited_s for call in self.calls]
        frame["ran_s"] = [call.ran_s for call in self.calls]
        return with_times(frame, ("queued_at", "sent_at", "began_at", "ended_at"))

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON-serializable data."""
        return dataclasses.asdict(self)
