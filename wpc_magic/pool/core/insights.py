"""What is known of how functions and maps have run: immutable, for display and for advice."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

__all__ = ["FunctionInsight", "Insights", "MapInsight", "SlowCall"]


@dataclasses.dataclass(frozen=True, slots=True)
class SlowCall:
    """One of the slowest calls of a function.

    Parameters
    ----------
    call : str
        The call with its number: ``"simulate #58"``.
    arguments : str
        Its arguments, shortened: ``"(37)"``, ``"3 items: [7, 8, 9]"``; empty: they are not known.
    ran_s : float
        How long it ran, in seconds.
    worker_id : int
        The worker that ran it.
    items : int
        How many items of a map it had; 0: it was a single call.
    """

    call: str
    arguments: str
    ran_s: float
    worker_id: int
    items: int = 0

    def __str__(self) -> str:
        """Return it as text.

        Examples
        --------
        >>> print(SlowCall("fit #58", "(37)", 12.0, 2))
        fit(37) #58
        >>> print(SlowCall("fit #58", "1 item: [37]", 12.0, 2, items=1))
        fit #58 (1 item: [37])
        """
        if self.items:
            return f"{self.call} ({self.arguments})" if self.arguments else self.call
        name, mark, number = self.call.rpartition(" #")
        return f"{name}{self.arguments}{mark}{number}"


@dataclasses.dataclass(frozen=True, slots=True)
class FunctionInsight:
    """How a function has run, in its present version.

    Calls of less than about 1 ms are not measured one by one: what they take is estimated from the histogram
    of the function. `active_s`, `workers`, `sent_bytes`, `measured` and `slowest` are those of the calls that
    the history keeps; see `WorkerProcedureCall.history`.

    Parameters
    ----------
    name : str
        The function.
    calls : int
        How many calls have ended; the items of a map that are sent together are one.
    failed : int
        How many calls, and items of maps, have failed, in whatever way.
    quick_calls : int
        How many single calls took less than about 65 µs.
    mean_s : float or None
        The moving average of the run time of one call, or item, in seconds.
    working_s : float
        How long its calls have run, in all workers together, in seconds.
    active_s : float
        For how long any of its measured calls ran, in seconds.
    workers : mapping
        By worker: how long its measured calls have run there, in seconds.
    sent_bytes : int
        The size of the arguments of its measured calls.
    measured : int
        How many calls were measured one by one.
    slowest : tuple of SlowCall
        The slowest calls, the slowest first.
    growth_bytes : int or None
        By how much a worker's memory grows with each call, if it does.
    is_async : bool
        Whether it is an ``async def``: its calls run side by side, and also work while they wait.
    items : int
        How many items of maps have ended.
    revision : int
        How many times its name has been defined; 0: it is not registered.
    """

    name: str
    calls: int = 0
    failed: int = 0
    quick_calls: int = 0
    mean_s: float | None = None
    working_s: float = 0.0
    active_s: float = 0.0
    workers: Mapping[int, float] = dataclasses.field(default_factory=dict)
    sent_bytes: int = 0
    measured: int = 0
    slowest: tuple[SlowCall, ...] = ()
    growth_bytes: int | None = None
    is_async: bool = False
    items: int = 0
    revision: int = 1

    def working_share(self, worker_id: int) -> float | None:
        """Return the share of its active time in which a worker ran it, from 0 to 1; None: not known."""
        if self.active_s <= 0 or self.is_async:
            return None
        return min(1.0, self.workers.get(worker_id, 0.0) / self.active_s)


@dataclasses.dataclass(frozen=True, slots=True)
class MapInsight:
    """How a map has run.

    Parameters
    ----------
    name : str
        The function.
    items : int
        How many items have ended, also those that have failed.
    failed : int
        How many of them have failed.
    took_s : float
        How long it took, from the first request for a result to the end, in seconds.
    ran_s : float
        How long its calls have run, in all workers together, in seconds.
    worker_count : int
        How many workers there were.
    slowest_s : float
        How long the slowest call of it ran, in seconds.
    slowest_item : int
        The number of that call's first item, from 0.
    slowest_count : int
        How many items that call had.
    """

    name: str
    items: int
    failed: int
    took_s: float
    ran_s: float
    worker_count: int
    slowest_s: float = 0.0
    slowest_item: int = 0
    slowest_count: int = 1

    @property
    def working_share(self) -> float | None:
        """The share of the workers' time in which they ran it, from 0 to 1.

        None: it is not known; or its calls interleave.
        """
        share = self.ran_s / (self.took_s * max(1, self.worker_count)) if self.took_s > 0 else 0.0
        return min(1.0, share) if 0 < share < 1.05 else None


@dataclasses.dataclass(frozen=True, slots=True, repr=False)
class Insights:
    """How the functions and the latest maps of a pool have run, with advice.

    Parameters
    ----------
    functions : tuple of FunctionInsight
        Those that were called, the one that took most first.
    maps : tuple of MapInsight
        The latest maps, the latest last.
    advice : tuple of str
        What stands out, in words.
    """

    functions: tuple[FunctionInsight, ...] = ()
    maps: tuple[MapInsight, ...] = ()
    advice: tuple[str, ...] = ()

    def __repr__(self) -> str:
        functions, maps = len(self.functions), len(self.maps)
        return (
            f"<Insights: {functions} function{'s' * (functions != 1)}, {maps} map{'s' * (maps != 1)}, "
            f"{len(self.advice)} lines of advice>"
        )

    def as_dict(self) -> dict[str, Any]:
        """Return them as JSON-serializable data."""
        return dataclasses.asdict(self)
