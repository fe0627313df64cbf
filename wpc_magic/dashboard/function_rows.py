"""The table of functions: how often each was called, how that ended, and how long it took; pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypedDict

from wpc_magic.pool.core.events import WorkerEvent
from wpc_magic.pool.core.snapshot import FunctionInfo
from wpc_magic.pool.statistics import FunctionStatistics

__all__ = ["FunctionRow", "function_rows", "quantile_s"]

_LONGEST_ERROR = 200


class FunctionRow(TypedDict):
    """One function, in all its versions; times in seconds."""

    name: str
    version: int  # 0: it is not registered
    calls: int
    items: int
    failed: int
    cancelled: int
    p50: float | None  # how long workers have run it: within a factor of 1.5
    p95: float | None
    p99: float | None
    share: float  # of the time that workers have run functions, from 0 to 1
    last_error: str


def function_rows(
    statistics: Iterable[FunctionStatistics],
    infos: Iterable[FunctionInfo],
    events: Sequence[WorkerEvent] = (),
) -> list[FunctionRow]:
    """Return the rows of the functions that are registered, or were called; by name.

    Parameters
    ----------
    statistics : iterable of FunctionStatistics
        What the pool has counted.
    infos : iterable of FunctionInfo
        The functions that are registered.
    events : sequence of WorkerEvent
        Those in the history, oldest first: they tell the last error of each function.

    Examples
    --------
    >>> counted = FunctionStatistics("fit", {"done": 3, "failed": 1}, (0,) * 30 + (4,), calls=4)
    >>> (row,) = function_rows([counted], [])
    >>> row["calls"], row["failed"], row["share"], row["p50"]
    (4, 1, 1.0, 0.805)
    """
    counted = {each.name: each for each in statistics}
    versions = {info.name: info.revision for info in infos}
    took = {name: _seconds(each.buckets) for name, each in counted.items()}
    total = sum(took.values()) or 1.0
    errors = _last_errors(events)
    rows = []
    for name in sorted({*counted, *versions}):
        each = counted.get(name) or FunctionStatistics(name, {}, ())
        p50, p95, p99 = (quantile_s(each.buckets, q) for q in (0.5, 0.95, 0.99))
        rows.append(
            FunctionRow(
                name=name,
                version=versions.get(name, 0),
                calls=each.calls,
                items=each.items,
                failed=each.failed,
                cancelled=each.cancelled,
                p50=p50,
                p95=p95,
                p99=p99,
                share=round(took.get(name, 0.0) / total, 3),
                last_error=errors.get(name, ""),
            )
        )
    return rows


def quantile_s(buckets: Sequence[int], q: float) -> float | None:
    """Return a quantile of run times in buckets of powers of two: the middle of its bucket, in seconds.

    Parameters
    ----------
    buckets : sequence of int
        As in `FunctionStatistics`.
    q : float
        From 0 to 1.

    Examples
    --------
    >>> quantile_s((0,) * 30 + (9, 1), 0.5), quantile_s((0,) * 30 + (9, 1), 0.95), quantile_s((), 0.5)
    (0.805, 1.61, None)
    """
    left = q * sum(buckets)
    for exponent, count in enumerate(buckets):
        left -= count
        if count and left <= 0:
            return float(f"{_middle_s(exponent):.3g}")
    return None


def _middle_s(exponent: int) -> float:
    return 0.75 * float(2**exponent) / 1e9


def _seconds(buckets: Sequence[int]) -> float:
    return sum(count * _middle_s(exponent) for exponent, count in enumerate(buckets) if count)


def _last_errors(events: Iterable[WorkerEvent]) -> dict[str, str]:
    errors = {}
    for event in events:
        function = event.details.get("function")
        if event.error is not None and isinstance(function, str):
            name = event.error.name.rpartition(".")[2]
            errors[function] = " ".join(f"{name}: {event.error.message}"[:_LONGEST_ERROR].split())
    return errors
