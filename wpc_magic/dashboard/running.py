"""What goes on: the rows of maps, and of calls that take their time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypedDict

from wpc_magic.pool.options import shown_name

if TYPE_CHECKING:
    from wpc_magic.pool.core.running_calls import RunningCall
    from wpc_magic.pool.maps.running import RunningMap

__all__ = ["MOST_ROWS", "CallRow", "MapRow", "Running", "running_rows"]

MOST_ROWS = 100
"""How many maps, and how many calls, are shown at most."""

_SHORT_S = 1.0  # a call that is shorter has ended before a click
_JITTER_S = 0.5  # two looks at a call may differ by this much in its start time


class MapRow(TypedDict):
    """A map; times are in seconds."""

    number: int
    function: str
    done: int
    failed: int
    total: int | None
    rate: float | None  # items a second
    left_s: float | None


class CallRow(TypedDict):
    """A call that takes its time, or a cell in the background."""

    id: str
    name: str
    worker: int  # 0: none yet, it is queued
    since: float  # seconds of the epoch; 0: it is queued
    done: float | None  # how far it says that it is; None: it does not
    total: float | None
    text: str


def running_rows(
    maps: Iterable[RunningMap],
    calls: Iterable[RunningCall],
    now: float,
    queued: Iterable[tuple[str, str]] = (),
) -> tuple[list[MapRow], list[CallRow]]:
    """Return the rows of maps, and those of single calls.

    Parameters
    ----------
    maps : iterable of RunningMap
        The maps that go on.
    calls : iterable of RunningCall
        The calls that workers have begun; chunks of maps have no row.
    now : float
        The time, in seconds of the epoch.
    queued : iterable of tuple
        The ids and names of calls that wait for a worker, of which cells in the background have a row.

    Examples
    --------
    >>> from wpc_magic.pool.core.running_calls import RunningCall
    >>> from wpc_magic.pool.maps.running import RunningMap
    >>> going = RunningMap(1, "fit", done=20, total=100, sent=40, in_flight=20, running_s=10.0)
    >>> (fit,), (cell,) = running_rows([going], [RunningCall("call-7", "_wpc_cell_3", 2, 0.5)], 100.0)
    >>> fit["rate"], fit["left_s"]
    (2.0, 40.0)
    >>> cell["name"], cell["worker"], cell["since"]
    ('Cell In[3]', 2, 99.5)
    """
    going = [
        MapRow(
            number=each.number,
            function=each.function,
            done=each.done,
            failed=each.failed,
            total=each.total,
            rate=_rounded(each.rate),
            left_s=_rounded(each.left_s),
        )
        for each in maps
    ]
    rows = [_call_row(each, now) for each in calls if not each.items and _is_worth_a_row(each)]
    rows += [_queued_row(id_, name) for id_, name in queued if _is_cell(name)]
    return going[-MOST_ROWS:], rows[:MOST_ROWS]


def _is_worth_a_row(call: RunningCall) -> bool:
    return call.running_s >= _SHORT_S or _is_cell(call.name)


def _is_cell(name: str) -> bool:
    return shown_name(name).startswith("Cell In[")


def _queued_row(id_: str, name: str) -> CallRow:
    return CallRow(id=id_, name=shown_name(name), worker=0, since=0.0, done=None, total=None, text="")


def _call_row(call: RunningCall, now: float) -> CallRow:
    progress = call.progress
    return CallRow(
        id=call.id,
        name=shown_name(call.name),
        worker=call.worker_id,
        since=round(now - call.running_s, 1),
        done=None if progress is None else progress.done,
        total=None if progress is None else progress.total,
        text="" if progress is None else str(progress.text)[:200],
    )


def _rounded(number: float | None) -> float | None:
    """Return a number with three digits, so that a row changes less often than it is read."""
    return None if number is None else float(f"{number:.3g}")


class Running:
    """Reads what goes on: all of it, if anything has changed.

    Parameters
    ----------
    clock : callable
        Returns the time, in seconds of the epoch.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._sent: dict[str, Any] | None = None

    def forget(self) -> None:
        """Return all of it the next time."""
        self._sent = None

    def read(self, pool: Any) -> dict[str, Any]:
        """Return ``{"running": ...}`` with ``maps`` and ``calls``, if something has changed."""
        maps, calls = running_rows(
            pool.running_maps(), pool.running_calls(), self._clock(), pool.queued_calls()
        )
        before = {} if self._sent is None else {row["id"]: row for row in self._sent["calls"]}
        for row in calls:
            known = before.get(row["id"])
            if known is not None and abs(known["since"] - row["since"]) < _JITTER_S:
                row["since"] = known["since"]
        found = {"maps": maps, "calls": calls}
        if found == self._sent:
            return {}
        self._sent = found
        return {"running": found}
